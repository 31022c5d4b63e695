package kubeletproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// RecordLabel on a Node names the cloudcore and the port that serve the node's
// kubelet endpoint: "10.0.0.5_20007". It is cloudcore's to write. NodeRestriction
// keeps nodes from labels below node-restriction.kubernetes.io; a node may write
// its own status and annotations, so nothing is decided by those.
const RecordLabel = "edgekit.node-restriction.kubernetes.io/kubelet"

// recordValue is the label's value. A label may hold no colon.
func recordValue(address netip.Addr, port int) string {
	return strings.ReplaceAll(address.StringExpanded(), ":", "-") + "_" + strconv.Itoa(port)
}

// parseRecord reads what recordValue made; false for anything else.
func parseRecord(value string) (netip.Addr, int, bool) {
	host, digits, _ := strings.Cut(value, "_")
	if !strings.Contains(host, ".") {
		host = strings.ReplaceAll(host, "-", ":")
	}
	address, err := netip.ParseAddr(host)
	port, portErr := strconv.Atoi(digits)
	if err != nil || portErr != nil || port < 1 || value != recordValue(address, port) {
		return netip.Addr{}, 0, false
	}
	return address, port, true
}

// Holder is the address of the cloudcore that serves a node's kubelet endpoint, as its Node's
// record says; false if there is none. A node cannot write it.
func Holder(node *corev1.Node) (netip.Addr, bool) {
	address, _, ok := parseRecord(node.Labels[RecordLabel])
	return address, ok
}

// Endpoint is where a node's kubelet endpoint is, as its Node's record says; false if there is none. A
// node cannot write it.
func Endpoint(node *corev1.Node) (netip.AddrPort, bool) {
	address, port, ok := parseRecord(node.Labels[RecordLabel])
	if !ok || port > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(address, uint16(port)), true
}

// recordedPort reads a Node's record: whether it names this cloudcore, and the port.
func (s *Server) recordedPort(node *corev1.Node) (here bool, port int) {
	address, port, ok := parseRecord(node.Labels[RecordLabel])
	if !ok || address != s.cfg.Address || port < s.cfg.FirstPort || port >= s.cfg.FirstPort+s.cfg.Ports {
		return false, 0
	}
	return true, port
}

// records are the ports of this cloudcore that the Nodes' labels name, by the
// last change seen. Its owner locks it.
type records struct {
	port  map[string]int   // by node
	nodes map[int][]string // by port; more than one is a conflict
}

// set replaces the port of a node's record; 0 removes it.
func (r *records) set(node string, port int) {
	old := r.port[node]
	if old == port {
		return
	}
	if old != 0 {
		r.nodes[old] = slices.DeleteFunc(r.nodes[old], func(n string) bool { return n == node })
		if len(r.nodes[old]) == 0 {
			delete(r.nodes, old)
		}
		delete(r.port, node)
	}
	if port != 0 {
		r.port[node] = port
		r.nodes[port] = append(r.nodes[port], node)
	}
}

func (r *records) namedByOther(port int, node string) bool {
	return slices.ContainsFunc(r.nodes[port], func(n string) bool { return n != node })
}

// nodeChanged keeps a node's port as its record has it, over restarts, and frees
// it when the node is gone or has changed over to another cloudcore.
func (s *Server) nodeChanged(c cache.Change[*corev1.Node]) {
	name := c.Name.Name
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.New == nil {
		if st := s.byNode[name]; st != nil {
			s.removeNodeLocked(st)
		}
		s.recordLocked(name, 0)
		return
	}
	here, port := s.recordedPort(c.New)
	s.recordLocked(name, port)
	if here {
		if len(s.records.nodes[port]) > 1 {
			s.log.Error("several Nodes claim one kubelet port: none of them is served there until one is rewritten",
				"port", port, "nodes", slices.Clone(s.records.nodes[port]), "label", RecordLabel)
		}
		s.resolveConflictLocked(port)
		s.openRecordedPortLocked(name)
	}
	st := s.byNode[name]
	switch {
	case st == nil:
	case st.connected && (port != st.port || !s.showsPort(c.New, st.port)):
		s.queueNodeLocked(name)
	case !st.connected && !here && c.New.Labels[RecordLabel] != "":
		s.movedLocked(st, s.endpointElsewhere(c.New))
	case !st.connected && !here && !st.left.IsZero():
		s.removeNodeLocked(st)
	}
}

// showsPort reports whether the Node's status names this cloudcore and the port,
// which is where the API server looks.
func (s *Server) showsPort(node *corev1.Node, port int) bool {
	if int(node.Status.DaemonEndpoints.KubeletEndpoint.Port) != port {
		return false
	}
	i := slices.IndexFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == s.cfg.AddressType })
	return s.cfg.AddressType == AddressNone || i >= 0 && node.Status.Addresses[i].Address == s.cfg.Address.String()
}

// openRecordedPortLocked opens the port in the record of a node that has no link here, so
// that its clients get the error that the node is away. If another node uses the port, the
// node gets none.
func (s *Server) openRecordedPortLocked(node string) {
	port := s.records.port[node]
	st := s.byNode[node]
	if port == 0 || s.byPort[port] != nil || st != nil && (st.connected || st.port == port) {
		return
	}
	if st == nil {
		st = &endpoint{node: node}
		s.byNode[node] = st
	}
	s.closePortLocked(st)
	st.port = port
	if err := s.listenLocked(st); err != nil {
		st.port = 0
		s.log.Warn("a node's kubelet port cannot be opened; it gets another when it connects", "node", node, "port", port, "err", err)
		return
	}
	s.byPort[port] = st
	s.sessions.endpoints.Set(float64(len(s.byPort)))
}

// resolveConflictLocked assigns another port to each connected node of a port that
// several records name. Nodes without a link keep the port of their record.
func (s *Server) resolveConflictLocked(port int) {
	all := s.records.nodes[port]
	if len(all) < 2 {
		return
	}
	for _, node := range all {
		st := s.byNode[node]
		if st == nil || !st.connected || st.port != port {
			continue
		}
		s.closePortLocked(st)
		s.assignPortLocked(node, 0)
		s.queueNodeLocked(node)
	}
}

// Why a connection to a port is not served.
var (
	errNoNode    = errors.New("no node has this port")
	errContested = errors.New("several Nodes claim this port: none of them is served until one is rewritten (label " + RecordLabel + ")")
	errRecord    = errors.New("the Node's record does not name this port yet: try again")
)

// nodeAt is the node whose port a connection came to. Where the Server knows the
// Nodes, the node's record has to name the port, and no other may.
func (s *Server) nodeAt(local net.Addr) (string, error) {
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return "", errNoNode
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byPort[tcp.Port]
	switch {
	case len(s.records.nodes[tcp.Port]) > 1:
		return "", errContested
	case st == nil:
		return "", errNoNode
	case s.cfg.Nodes != nil && s.records.port[st.node] != tcp.Port:
		return "", errRecord
	}
	return st.node, nil
}

// writeRecord writes the Node's record if it is another.
func (s *Server) writeRecord(ctx context.Context, node *corev1.Node, port int) error {
	want := recordValue(s.cfg.Address, port)
	if node.Labels[RecordLabel] == want {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{RecordLabel: want}}})
	if err != nil {
		return fmt.Errorf("node label: %w", err)
	}
	_, err = s.cfg.Cloud.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordLocked(node.Name, port) // the watch may bring it only later
	s.resolveConflictLocked(port)
	return nil
}

// recordLocked stores the port that a node's record names now, 0 for none. If exactly one
// other node's record still names the old port, the port is opened for that node. The watch
// and the writer of a record both call this; the second call changes nothing.
func (s *Server) recordLocked(node string, port int) {
	left := s.records.port[node]
	s.records.set(node, port)
	if left == port {
		return
	}
	if st := s.byNode[node]; st != nil {
		st.wakeLocked()
	}
	if st := s.byNode[node]; st != nil && st.port == left && !st.connected && s.leavesLocked(st) <= 0 {
		s.closePortLocked(st)
	}
	for _, other := range slices.Clone(s.records.nodes[left]) {
		s.openRecordedPortLocked(other)
	}
}
