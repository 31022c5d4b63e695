// Package kafka is a Pipeline that feeds Kafka (pipeline.yaml). Its test has brokers in the process (kfake).
//
// Use Kafka, or what speaks its protocol, when the cloud has it already. The Pipeline's queue holds what the
// brokers do not take while they are away.
package kafka
