// Package pipelinetest has fakes of everything that package pipeline is given: expressions,
// sources, sinks, queues, a broker, twins, the cloud, container logs, an HTTP port and a
// clock. They hold all in memory and can be made to fail. RunQueues tests an implementation of
// pipeline.Queues.
//
// All methods of the fakes may be called by several goroutines at once.
package pipelinetest
