"""Joint training of words and masks: PRS-Med and MediSee."""
