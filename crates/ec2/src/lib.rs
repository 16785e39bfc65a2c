//! EC2: what a deployment reads of instances and networks.
