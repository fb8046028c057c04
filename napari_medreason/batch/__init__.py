"""Many questions about many studies in one go, without a viewer: in order, stoppable, and resumed."""
