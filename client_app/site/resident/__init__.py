"""A process that stays on a site between messages, with torch, the model's code and the data set loaded."""
