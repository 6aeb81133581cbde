"""The engines that all visitors share."""
