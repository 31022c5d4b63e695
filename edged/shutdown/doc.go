// Package shutdown ends the pods of a node in order before the machine shuts down: the
// kubelet's graceful node shutdown.
// https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/
//
//	m, err := shutdown.New(shutdown.Config{
//		Dial:    logind.Dial, // edged/shutdown/logind
//		Periods: shutdown.Periods(30*time.Second, 10*time.Second),
//		Pods:    pods,
//	})
//	if err != nil {
//		return err
//	}
//	return m.Run(ctx)
//
// A [Manager] holds an inhibitor lock of systemd-logind, which delays a shutdown. When the
// machine prepares to shut down, the Manager says so (ShuttingDown), ends the pods of the
// lowest priority first, each group within its time, and releases the lock. A shutdown
// that is cancelled is over: the Manager takes a lock again. Where logind allows less
// delay than the periods need, the Manager writes a file for logind that raises it; where
// it cannot, the groups get less time and a warning says so.
//
// A shutdown that has begun goes on if the message bus or logind is lost meanwhile: the lock
// is a file, which stays held. The Manager connects again and finds out by a new lock, which
// logind grants to nobody during a shutdown, whether it was cancelled.
//
// Without logind there is no graceful shutdown. One log line says that, and the Manager
// goes on trying: the message bus may start later than the node.
//
// Package shutdowntest has a fake logind, and one that answers on a real message bus. All
// methods may be called by several goroutines at once.
package shutdown
