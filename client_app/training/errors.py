"""What can go wrong in a round of local training, in sentences a user can act on."""


class TrainingError(RuntimeError):
    """Local training cannot go on."""


class NonFiniteError(TrainingError):
    """A loss or a parameter became NaN or infinite."""


class DeviceError(TrainingError):
    """The device asked for does not exist or cannot do what is asked of it."""


class DeviceMemoryError(DeviceError):
    """The device has too little memory for this client's settings."""


class StateError(TrainingError):
    """What a client kept from earlier rounds cannot be used."""


class PrivacyError(TrainingError):
    """A client's privacy would be spent beyond its limit, or could not be accounted for."""
