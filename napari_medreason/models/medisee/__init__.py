"""MediSee: candidate tokens, routers, a box head and the SAM decoder behind LLaVA-Med."""
