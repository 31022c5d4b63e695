package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/asnode"
	"github.com/edgekit/edgekit/controller/live"
	"github.com/edgekit/edgekit/hub"
)

const (
	writeRetry = 2 * time.Second // after a Node could not be written
	writeMost  = 16              // Nodes written at the same time
)

// seat is a node's place on this cloudcore.
type seat struct {
	node      string
	port      int
	listener  net.Listener // nil while Run does not run
	connected bool         // as last heard
	epoch     uint64       // of the session last heard of
	failed    bool         // no port could be opened; logged once
}

// Amend puts the node's endpoint into what it reports of itself. The node gets
// a port if it has none; where there is none left it stays as it is.
func (s *Server) Amend(node *corev1.Node) {
	port := s.assign(node.Name, 0)
	if port == 0 {
		return
	}
	s.endpoint(&node.Status, port)
}

// endpoint makes this cloudcore and the port the kubelet endpoint of a node.
func (s *Server) endpoint(st *corev1.NodeStatus, port int) {
	kept := []corev1.NodeAddressType{corev1.NodeInternalIP}
	if s.cfg.Hostname {
		kept = append(kept, corev1.NodeHostName)
	}
	endpoint(st, s.cfg.Address.String(), int32(port), kept)
}

// endpoint makes address and port the kubelet endpoint of a node. What was the
// endpoint before is replaced. Of the other addresses those of the kept types
// stay: an API server with default settings dials a node's Hostname before its
// InternalIP, and that leads nowhere.
func endpoint(st *corev1.NodeStatus, address string, port int32, kept []corev1.NodeAddressType) {
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

// Connected takes the client info of a node's sessions on the link. A node has
// one at a time: what was open when one ends is lost with it.
func (s *Server) Connected(info hub.Info) {
	if info.Connected {
		s.assign(info.Node, 0)
	} else {
		s.sessions.lost(info.Node, s.grace)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byNode[info.Node]
	if st == nil || info.Epoch < st.epoch {
		return
	}
	st.connected, st.epoch = info.Connected, info.Epoch
	if info.Connected {
		s.dueLocked(info.Node)
	}
}

// nodeChanged keeps a node's port as its Node has it, over restarts, and frees
// it when the node is gone or has changed over to another cloudcore.
func (s *Server) nodeChanged(c live.Change[*corev1.Node]) {
	name := c.Name.Name
	if c.New == nil {
		s.release(name)
		return
	}
	here, port := s.claims(c.New)
	if here {
		s.assign(name, port)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byNode[name]
	switch {
	case st == nil:
	case st.connected && (!here || port != st.port):
		s.dueLocked(name)
	case !st.connected && !here && c.New.Status.DaemonEndpoints.KubeletEndpoint.Port != 0:
		s.releaseLocked(st)
	}
}

// claims reports whether the Node has this cloudcore for its endpoint, and its
// port.
func (s *Server) claims(node *corev1.Node) (bool, int) {
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port < s.cfg.FirstPort || port >= s.cfg.FirstPort+s.cfg.Ports {
		return false, 0
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address == s.cfg.Address.String(), port
		}
	}
	return false, 0
}

// assign gives the node a port, want if that is free, and returns it; 0 if
// there is none.
func (s *Server) assign(node string, want int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byNode[node]; st != nil && st.port != 0 {
		return st.port
	}
	st := s.byNode[node]
	if st == nil {
		st = &seat{node: node}
		s.byNode[node] = st
	}
	first := want
	if first == 0 {
		first = s.cfg.FirstPort + preferred(node, s.cfg.Ports)
	}
	var last error
	for i := range s.cfg.Ports {
		port := s.cfg.FirstPort + (first-s.cfg.FirstPort+i)%s.cfg.Ports
		if s.byPort[port] != nil {
			continue
		}
		st.port = port
		if last = s.listenLocked(st); last == nil {
			s.byPort[port] = st
			st.failed = false
			s.sessions.endpoints.Set(float64(len(s.byPort)))
			return port
		}
		if i > 64 {
			break // it is not the port that is taken
		}
	}
	st.port = 0
	if !st.failed {
		st.failed = true
		s.log.Error("no port is left for a node's kubelet endpoint: kubectl logs and exec will not reach it", "node", node,
			"first", s.cfg.FirstPort, "ports", s.cfg.Ports, "err", last)
	}
	return 0
}

// preferred is where the search for a node's port begins, so that nodes mostly
// have the same port whatever the order in which they come.
func preferred(node string, ports int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node)) // never fails
	return int(h.Sum32() % uint32(ports))
}

// listenLocked opens the seat's port, if Run runs.
func (s *Server) listenLocked(st *seat) error {
	if s.spawn == nil || st.listener != nil || st.port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(s.cfg.Bind, strconv.Itoa(st.port)))
	if err != nil {
		return err
	}
	st.listener = l
	s.spawn(l)
	return nil
}

func (s *Server) release(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byNode[node]; st != nil {
		s.releaseLocked(st)
	}
}

func (s *Server) releaseLocked(st *seat) {
	delete(s.byNode, st.node)
	delete(s.due, st.node)
	if s.byPort[st.port] == st {
		delete(s.byPort, st.port)
	}
	if st.listener != nil {
		st.listener.Close()
	}
	s.sessions.endpoints.Set(float64(len(s.byPort)))
}

// nodeAt is the node whose port a connection came to.
func (s *Server) nodeAt(local net.Addr) (string, bool) {
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byPort[tcp.Port]
	if st == nil {
		return "", false
	}
	return st.node, true
}

func (s *Server) dueLocked(node string) {
	s.due[node] = true
	select {
	case s.kick <- struct{}{}:
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
		g.SetLimit(writeMost)
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
		case <-s.kick:
		case <-retry:
		}
	}
}

// writeEndpoint writes one Node's endpoint if it is another. A Node that is not
// known yet gets it with its first report.
func (s *Server) writeEndpoint(ctx context.Context, name string) error {
	if s.nodes == nil {
		return nil
	}
	item, ok := s.nodes.Load(live.Name{Name: name})
	s.mu.Lock()
	st := s.byNode[name]
	s.mu.Unlock()
	if !ok || st == nil || st.port == 0 {
		return nil
	}
	want := item.Object.Status.DeepCopy()
	s.endpoint(want, st.port)
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
	_, err = s.cfg.AsNode.CoreV1().Nodes().Patch(asnode.With(ctx, name), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
