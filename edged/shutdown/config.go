package shutdown

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// What a kubelet writes into the status of a pod that is ended, or not begun, because the
// node shuts down.
const (
	// Reason and Message are those of a pod that was ended. Its phase is Failed.
	Reason  = "Terminated"
	Message = "Pod was terminated in response to imminent node shutdown."
	// RejectReason and RejectMessage are those of a new pod.
	RejectReason  = "NodeShutdown"
	RejectMessage = "Pod was rejected as the node is shutting down."
	// NotReady is the message of the node's condition Ready.
	NotReady = "node is shutting down"
)

// Logind is a connection to systemd-logind. Its methods are called by one goroutine.
type Logind interface {
	// InhibitDelay is how long logind waits for locks at the most.
	InhibitDelay(ctx context.Context) (time.Duration, error)
	// Inhibit takes a lock that delays a shutdown until it is closed.
	Inhibit(ctx context.Context) (io.Closer, error)
	// Reload has logind read its configuration again. It may do so after Reload returns.
	Reload(ctx context.Context) error
	// Watch sends true when the machine prepares to shut down, and false when that was
	// cancelled. The channel is closed when the connection is lost. It is called once.
	Watch(ctx context.Context) (<-chan bool, error)
	// Close ends the connection.
	Close() error
}

// Pods are the pods of the node. The methods may be called at any time.
type Pods interface {
	// Active lists the pods that have not ended. They must not be changed.
	Active() []*corev1.Pod
	// End ends a pod with Reason and Message, within grace at the most. It reports false
	// where the pod has ended already.
	End(uid types.UID, grace time.Duration) bool
	// HasEnded reports whether nothing of the pod runs any more, its volumes are gone and its
	// last status is stored.
	HasEnded(uid types.UID) bool
	// Resume is called after a shutdown was cancelled: pods that the node itself has, and no
	// API server, start again.
	Resume()
}

// Config sets up a Manager. Dial, Periods and Pods are required.
type Config struct {
	Dial    func(ctx context.Context) (Logind, error)
	Periods []Period // how long pods have to end, by priority
	Pods    Pods

	// ConfigDir is where logind reads files of its configuration; "" means
	// /etc/systemd/logind.conf.d.
	ConfigDir string
	// StateFile is where the times of the last shutdown are kept for the metrics; "" keeps
	// none.
	StateFile string
	// Changed is called after ShuttingDown has changed, with no mutex held; nil means that
	// nothing is called.
	Changed func()
	// Flush is called after the last pod has ended: what was reported may be sent to the
	// cloud. Its ctx ends when there is no more time. nil means that nothing is called.
	Flush func(ctx context.Context)
	// Event records an event of the Node; nil discards it.
	Event  func(kind, reason, message string)
	Logger *slog.Logger // nil discards
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dial == nil || c.Pods == nil:
		return c, errors.New("shutdown: Config.Dial and Pods are required")
	case total(c.Periods) == 0:
		return c, errors.New("shutdown: Config.Periods is empty: give the pods time, or make no Manager")
	}
	if err := check(c.Periods); err != nil {
		return c, err
	}
	if c.ConfigDir == "" {
		c.ConfigDir = "/etc/systemd/logind.conf.d"
	}
	if !filepath.IsAbs(c.ConfigDir) || c.StateFile != "" && !filepath.IsAbs(c.StateFile) {
		return c, errors.New("shutdown: Config.ConfigDir and StateFile must be absolute paths")
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Flush == nil {
		c.Flush = func(context.Context) {}
	}
	if c.Event == nil {
		c.Event = func(string, string, string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
