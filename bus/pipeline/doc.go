// Package pipeline runs pipelines on a node or in a gateway: events from sources go through
// steps to sinks, as Pipeline resources say (package v1alpha1). It needs no Kubernetes and no
// cloud.
//
//	pipelines, err := pipeline.ParseYAML(file)
//	r, err := pipeline.New(pipeline.Config{
//		Options: pipeline.Options{Expressions: expressions, Decoder: codec.New, Schema: codec.Schema},
//		Openers: pipeline.Openers{Source: sources.Open, Sink: sinks.Open},
//		Queues:  queues,
//		Store:   store,
//		Env:     pipeline.Env{Node: "edge-7", Broker: broker},
//	})
//	r.Apply(pipelines)
//	err = r.Run(ctx)
//
// It is the engine only. Whatever is heavy, or differs between programs, is given to it as an
// interface:
//
//	Expressions     bus/pipeline/cel, the only package that imports cel-go
//	Decoder         bus/pipeline/codec
//	Source, Sink    bus/pipeline/sources and sinks; NATS, Kafka, OTLP and Parquet: the module bus/pipeline/extra
//	Queues          bus/pipeline/queue
//	Clock           SystemClock
//
// Package pipelinetest has fakes of all of them. Compile finds all that is wrong with a
// Pipeline at once. A Machine is a pipeline without goroutines, for tests in virtual time.
//
// # Delivery and order
//
// Events are delivered at least once. A source's event is safe when it is in the queues of all
// sinks that it goes to and in the state of all steps that count it, which is one batch of the
// store if Queues are on the same store. A kill before that makes the source emit it again; a
// kill after it, but before the source knows, too. The ids of the events of the last commits
// are in the same batch, so that an event that comes again is in each window once. Only a
// batch of more than meta.MaxBatch, which many large windows can make, is cut in two.
//
// Ids are the same whenever an event comes: a source's own; of a window NODE/NAMESPACE/NAME/
// STEP/KEY/ and its start in milliseconds, or the id of its first event for count and state
// windows. If one event reaches a step or sink on several ways, the id has the step's name as
// a suffix on each. A sink drops doubles by the id: Nats-Msg-Id, for example.
//
// Events of one source stay in order through all steps and queues, but for a queue's backlog,
// of which the newest is sent first. Different sources do not wait for each other.
//
// Events are gathered for Config.Commit before they are made durable, or until there are 512
// of them or 1 MiB.
//
// # Time
//
// Windows go by the events' times: for each key, up to the newest event that came, plus what
// has passed since by the node's clock. So a window ends though nothing comes any more, a
// device that sends a backlog is not late, and a device with a wrong clock harms its own key
// only. An event later than the window's end and lateness is dropped and counted. De-duplication,
// rates and atLeastEvery go by the node's clock. Steps of the system's clock move neither while
// the program runs.
//
// # When a pipeline changes
//
// It is stopped and started anew: sources stop, what they have emitted is made durable, and
// the new one goes on with the state of the steps of the same name, if their kind, key and
// windows are the same; lateness, limits and all else may differ. State of other steps is
// removed, also windows that are open. Queues go by the sink's name. When a pipeline is gone,
// its state, queues and dead letters are removed, and the folder of what its sources remember; so
// they are when another one, with another UID, is there under its name.
//
// # What fails
//
// An event on which an expression, a decoder or a schema fails is a dead letter with the step
// and the reason, and so is one that a sink refuses or has not taken within the time to retry.
// A sink that fails otherwise is tried again, after at most a minute. Each pipeline has
// goroutines of its own: one whose sink blocks, whose store fails or that panics does no harm
// to others. A panic of an expression is a dead letter; one of a source or sink is its failure.
// Status has the last failures. Runner.PushTo gives a dead letter back to the source or step that
// it is of.
//
// A pipeline whose sink feeds its own source by a topic or path that is written as text is refused,
// as are two sinks that write to one file. Of two pipelines with one file the one that runs keeps it
// (the older one, if both start together), and the other waits for it.
//
// # Bounds
//
// A node runs 64 pipelines of 64 steps, 16 sources and 16 sinks. An event has 1 MiB. A step
// holds 10,000 keys (maxKeys): a window makes an event with another key a dead letter, other
// steps forget the oldest key. A key has at most 1,000 open windows. A full queue drops or, with
// overflow Block, holds up the sources of its pipeline.
//
// # Concurrency and stability
//
// All methods of a Runner and a Plan may be called by several goroutines at once, a Machine is
// for one. The package is new: its names may still change, with a line in the CHANGELOG.
package pipeline
