"""Local training: schedule, optimiser, batches, the loop, evaluation, and the state kept between rounds."""
