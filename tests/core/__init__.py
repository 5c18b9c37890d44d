"""The core, without a loop, a socket or a clock: commands in, effects out; time is a number."""
