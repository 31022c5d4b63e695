package kubeletproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
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

// AddressNone as Config.AddressType writes no address of cloudcore, only the port.
const AddressNone corev1.NodeAddressType = "none"

// setAddress makes this cloudcore and the port the kubelet endpoint of a node, in place of
// the endpoint before. The node's Hostname goes unless Config.Hostname is set: an API server
// with default settings dials it before all other types, and would not reach cloudcore.
func (s *Server) setAddress(node *corev1.Node, port int) {
	mine := corev1.NodeAddress{Type: s.cfg.AddressType, Address: s.cfg.Address.String()}
	out := slices.DeleteFunc(s.ownAddresses(node), func(a corev1.NodeAddress) bool {
		return a == mine || a.Type == corev1.NodeHostName && (!s.cfg.Hostname || mine.Type == corev1.NodeHostName)
	})
	switch mine.Type {
	case AddressNone:
	case corev1.NodeInternalIP: // the API server takes the first one of a type
		out = append([]corev1.NodeAddress{mine}, out...)
	default:
		out = append(out, mine)
	}
	node.Status.Addresses = out
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
}

// ownAddresses are a Node's addresses without that of a cloudcore. A report of the node has
// no port: it holds the node's addresses alone, which are of the types InternalIP and Hostname. A
// cloudcore's is of another type, or it is the first InternalIP.
func (s *Server) ownAddresses(node *corev1.Node) []corev1.NodeAddress {
	all := slices.Clone(node.Status.Addresses)
	if node.Status.DaemonEndpoints.KubeletEndpoint.Port == 0 || len(all) == 0 {
		return all
	}
	if slices.ContainsFunc(all, ofCloudcore) {
		return slices.DeleteFunc(all, ofCloudcore)
	}
	if holder, ok := Holder(node); s.cfg.AddressType == AddressNone && ok && all[0].Address != holder.String() {
		return all // without a cloudcore's address already
	}
	return all[1:]
}

// ofCloudcore reports whether only a cloudcore writes such an address.
func ofCloudcore(a corev1.NodeAddress) bool {
	if a.Type == corev1.NodeHostName {
		_, err := netip.ParseAddr(a.Address)
		return err == nil // a node's is its name
	}
	return a.Type != corev1.NodeInternalIP
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
	node := item.Object.DeepCopy()
	s.setAddress(node, port)
	have, want := &item.Object.Status, &node.Status
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
