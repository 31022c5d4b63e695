package kubeletproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
)

const (
	writeRetry = 2 * time.Second // after a Node could not be written
	maxWrites  = 16              // Nodes written at the same time
)

// setAddress makes this cloudcore and the port the kubelet endpoint of a node.
func (s *Server) setAddress(st *corev1.NodeStatus, port int) {
	kept := []corev1.NodeAddressType{corev1.NodeInternalIP}
	if s.cfg.Hostname {
		kept = append(kept, corev1.NodeHostName)
	}
	setAddress(st, s.cfg.Address.String(), int32(port), kept)
}

// setAddress makes address and port the kubelet endpoint of a node and replaces the
// endpoint before. Of the other addresses only those of the kept types stay: an API
// server with default settings dials a node's Hostname before its InternalIP, which
// would not reach cloudcore.
func setAddress(st *corev1.NodeStatus, address string, port int32, kept []corev1.NodeAddressType) {
	out := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	old := st.Addresses
	if st.DaemonEndpoints.KubeletEndpoint.Port != 0 && len(old) > 0 {
		old = old[1:] // a node does not report a port: a cloudcore wrote both
	}
	for _, a := range old {
		if slices.Contains(kept, a.Type) && a.Address != address {
			out = append(out, a)
		}
	}
	st.Addresses = out
	st.DaemonEndpoints.KubeletEndpoint.Port = port
}

func (s *Server) queueNodeLocked(node string) {
	s.due[node] = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// writeEndpoints brings the endpoints of connected nodes into their Nodes until
// ctx ends.
func (s *Server) writeEndpoints(ctx context.Context) {
	for {
		s.mu.Lock()
		due := s.due
		s.due = make(map[string]bool)
		s.mu.Unlock()
		var g errgroup.Group
		g.SetLimit(maxWrites)
		for node := range due {
			g.Go(func() error {
				if err := s.writeEndpoint(ctx, node); err != nil && ctx.Err() == nil {
					s.log.Warn("a node's kubelet endpoint could not be written; trying again", "node", node, "err", err)
					s.mu.Lock()
					s.due[node] = true
					s.mu.Unlock()
				}
				return nil
			})
		}
		_ = g.Wait() // the functions return nil
		s.mu.Lock()
		again := len(s.due) > 0
		s.mu.Unlock()
		var retry <-chan time.Time
		if again {
			retry = time.After(writeRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-retry:
		}
	}
}

// writeEndpoint writes one Node's endpoint if it is another. A Node that is not
// known yet gets it with its first report.
func (s *Server) writeEndpoint(ctx context.Context, name string) error {
	if s.cfg.Nodes == nil {
		return nil
	}
	item, ok := s.cfg.Nodes.Load(cache.Name{Name: name})
	s.mu.Lock()
	port := 0
	if st := s.byNode[name]; st != nil && st.connected {
		port = st.port
	}
	s.mu.Unlock()
	if !ok || port == 0 {
		return nil
	}
	// The record first: a port is served by it, and a Node that names one
	// without it leads nowhere.
	if err := s.writeRecord(ctx, item.Object, port); err != nil {
		return err
	}
	want := item.Object.Status.DeepCopy()
	s.setAddress(want, port)
	have := &item.Object.Status
	if have.DaemonEndpoints == want.DaemonEndpoints && equality.Semantic.DeepEqual(have.Addresses, want.Addresses) {
		return nil
	}
	addresses := []any{map[string]string{"$patch": "replace"}}
	for _, a := range want.Addresses {
		addresses = append(addresses, a)
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": addresses, "daemonEndpoints": want.DaemonEndpoints}})
	if err != nil {
		return fmt.Errorf("node status: %w", err)
	}
	_, err = s.cfg.NodeClient.CoreV1().Nodes().Patch(impersonate.With(ctx, name), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
