//! ECS/Fargate deployer: task definitions, services, one-off tasks, rollouts and their diagnosis.
