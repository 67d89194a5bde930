"""Strategies of federated multi-task learning on Flower, and the message contract they share with clients."""
