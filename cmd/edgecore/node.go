package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/tracing"
	"github.com/edgekit/edgekit/edged/server"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
)

// The data folder.
const (
	identityDir = nodejoin.IdentityDir // key, certificate, the cloud's address
	storeDir    = "meta"               // all objects, reports and twins
	podsDir     = "pods"               // pods' volumes
	apiDir      = "api"                // the local API's socket, authority and admin.kubeconfig
)

// node is this machine's identity and memory.
type node struct {
	name     string
	instance string // identifies this run of edgecore: the cloud distinguishes it from a copy of the node
	cloud    string // host:port
	data     string // the data folder
	pods     string
	store    *badgerstore.Store
	damaged  *meta.CorruptError // the damage that was found in the store at the start; nil if none
	identity *join.Identity
	dialer   hub.Dialer
	clock    *join.Clock                   // the latest time that the node has known
	upgrades *upgrades                     // nil before it is made
	outside  atomic.Pointer[client.Client] // the connection to the external MQTT broker; nil without one
	metrics  *prometheus.Registry          // of all of edgecore's metrics; set by assemble
	health   *health                       // what the node reports of itself; likewise
	kubelet  *server.Server                // the kubelet's API, which serves them; likewise
	tracer   *tracing.Tracer               // set by Run; nil if there are no traces
	// mqttSocket is where the embedded broker serves edgepipe; empty without pipelines or that
	// broker.
	mqttSocket string
	base       string // the edgecore that was installed here; this one may be of an upgrade. Set by assemble
	log        *slog.Logger
}

// openNode opens the data folder. It changes nothing there when it fails.
func openNode(dataDir, cloud, transport, storeKey string, log *slog.Logger) (*node, error) {
	dir := filepath.Join(dataDir, identityDir)
	credentials, err := join.LoadCredentials(dir)
	if errors.Is(err, join.ErrNoCredentials) {
		return nil, fmt.Errorf("%s: this node has not joined yet: run 'edgecore join --cloud HOST:PORT --node NAME --token TOKEN' with a token from 'edgectl token create'", dir)
	}
	if err != nil {
		return nil, err
	}
	if cloud == "" {
		if cloud, err = nodejoin.LoadCloud(dir); err != nil {
			return nil, err
		}
	}
	clock, err := join.NewClock(filepath.Join(dir, nodejoin.ClockFile))
	if err != nil {
		return nil, err
	}
	n := &node{name: credentials.Node, instance: rand.Text(), cloud: cloud, data: dataDir, pods: filepath.Join(dataDir, podsDir), clock: clock, log: log}
	n.identity, err = join.NewIdentity(join.IdentityConfig{
		Credentials: credentials, URL: "https://" + cloud, Dir: dir, Clock: clock, Logger: component(log, "identity"),
	})
	if err != nil {
		return nil, err
	}
	if n.dialer, err = newDialer(transport, cloud, n.identity.TLS(), component(log, "hub")); err != nil {
		return nil, err
	}
	if expired := credentials.Leaf.NotAfter; clock.Now().After(expired) {
		log.Error("the node's certificate has expired: pods and devices go on without the cloud, and the node asks for a new one; if the cloud refuses, join again with --replace", "file", dir, "expired", expired)
	}
	n.store, err = badgerstore.Open(badgerstore.Config{
		Dir: filepath.Join(dataDir, storeDir), KeyFile: storeKey, Logger: component(log, "store"),
		Damaged: func(e *meta.CorruptError) {
			n.damaged = e
			log.Error("the store was damaged; the cloud fills it again", "err", e)
		},
	})
	if err != nil {
		return nil, keyError(err)
	}
	warnIfPlain(dataDir, log)
	return n, nil
}

// storeCheck is how often the store is asked whether it can be written.
const storeCheck = 5 * time.Second

// watchStore reports two faults of the store as events: that it was damaged, and that it
// could not be written for a while. The second is reported afterwards, because no event can
// be stored before; the node's condition DiskPressure is true meanwhile. watchStore returns
// an error when the store must be opened again before it can be written: edgecore then
// exits, and systemd starts it again.
func (n *node) watchStore(ctx context.Context, objects *kube.Client) error {
	if n.damaged != nil {
		n.recordStoreEvent(ctx, objects, "StoreDamaged", n.damaged.Error()+"; the cloud fills it again")
	}
	tick := time.NewTicker(storeCheck)
	defer tick.Stop()
	var since time.Time
	for failure := n.store.Stats().Failure; ; failure = n.store.Stats().Failure {
		switch {
		case failure != nil && since.IsZero():
			since = time.Now()
			n.log.Error("the store refuses all writes: pods keep running, changes from the cloud wait, and only this fault is reported", "err", failure)
		case failure == nil && !since.IsZero():
			n.log.Info("the store can be written again", "after", time.Since(since).Round(time.Second))
			n.recordStoreEvent(ctx, objects, "StoreUnwritable", fmt.Sprintf("the node's disk took no writes from %s to %s; what the node reported meanwhile is late or missing",
				since.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339)))
			since = time.Time{}
		}
		select {
		case <-tick.C:
		case <-n.store.Failing():
			return n.store.Stats().Failure
		case <-ctx.Done():
			return nil
		}
	}
}

// recordStoreEvent records an event of the store.
func (n *node) recordStoreEvent(ctx context.Context, objects *kube.Client, reason, message string) {
	if err := objects.Event(ctx, storeEvent(n.name, reason, message, metav1.Now())); err != nil && ctx.Err() == nil {
		n.log.Warn("the event about the store could not be stored", "reason", reason, "err", err)
	}
}

// storeEvent is an event of the node's store. Kubernetes keeps the events of
// nodes in the namespace default.
func storeEvent(node, reason, message string, at metav1.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", node, at.UnixNano())},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: node, UID: types.UID(node)},
		Type:           corev1.EventTypeWarning,
		Reason:         reason,
		Message:        message,
		Source:         corev1.EventSource{Component: "edgecore", Host: node},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

// Close closes the store.
func (n *node) Close() error { return n.store.Close() }

// connected passes the link's coming and going on to the parts that care.
func (n *node) connected(ctx context.Context, mgr *manager.Manager, objects *kube.Client) func(hub.Info) {
	return func(info hub.Info) {
		if err := mgr.NodeConnection(ctx, info); err != nil && ctx.Err() == nil {
			n.log.Warn("the state of the link could not be stored", "err", err)
		}
		if info.Connected {
			objects.Refresh()
		}
	}
}
