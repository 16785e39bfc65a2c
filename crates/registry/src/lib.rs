//! OCI distribution client, with Amazon ECR on top.
