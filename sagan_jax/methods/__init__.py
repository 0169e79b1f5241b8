"""The methods: each a value of `Method`, which makes a `Detector`."""
