//! One CloudFormation stack per environment: template, change sets, events, teardown.
