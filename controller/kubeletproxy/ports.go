package kubeletproxy

import (
	"errors"
	"hash/fnv"
	"net"
	"strconv"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/hub"
)

// endpoint is a node's kubelet endpoint on this cloudcore.
type endpoint struct {
	node      string
	port      int          // 0 while it has none
	listener  net.Listener // nil while Run does not run
	connected bool         // by the newest client info
	epoch     uint64       // of the newest session
	failed    bool         // no port could be opened; logged once
	handover
}

// AmendNode sets the node's endpoint in its report about itself. A node without a port gets
// one. If no port is left, the report stays unchanged.
func (s *Server) AmendNode(node *corev1.Node) {
	port := s.assignPort(node.Name, 0)
	if port == 0 {
		return
	}
	s.setAddress(node, port)
}

// Connected takes the client info of a node's sessions. A node has one session at
// a time; streams that were open when it ends are lost with it.
func (s *Server) Connected(info hub.Info) {
	if info.Connected {
		s.assignPort(info.Node, 0)
	} else {
		s.sessions.boundReads(info.Node, s.grace)
	}
	to := s.otherEndpoint(info.Node)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byNode[info.Node]
	if st == nil || info.Epoch < st.epoch {
		return
	}
	st.connected, st.epoch = info.Connected, info.Epoch
	if !info.Connected {
		s.leftLocked(st)
		if to.IsValid() { // it has a session there already
			s.movedLocked(st, to)
		}
		return
	}
	st.backLocked()
	s.resolveConflictLocked(st.port)
	s.queueNodeLocked(info.Node)
}

// assignPort gives the node a port and returns it; 0 if there is none. A node with a port
// keeps it. want is the port to try first, 0 for any. A port that another node's record names
// is used only if it is want.
func (s *Server) assignPort(node string, want int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assignPortLocked(node, want)
}

func (s *Server) assignPortLocked(node string, want int) int {
	st := s.byNode[node]
	if st == nil {
		st = &endpoint{node: node}
		s.byNode[node] = st
	}
	if st.port != 0 {
		return st.port
	}
	first := want
	if first == 0 {
		first = s.cfg.FirstPort + preferred(node, s.cfg.Ports)
	}
	var last error
	for i := range s.cfg.Ports {
		port := s.cfg.FirstPort + (first-s.cfg.FirstPort+i)%s.cfg.Ports
		if s.byPort[port] != nil || port != want && s.records.namedByOther(port, node) {
			continue
		}
		st.port = port
		if last = s.listenLocked(st); last == nil {
			s.byPort[port] = st
			st.failed = false
			s.sessions.endpoints.Set(float64(len(s.byPort)))
			return port
		}
		if !errors.Is(last, syscall.EADDRINUSE) {
			break // no other port will do either
		}
	}
	st.port = 0
	if !st.failed {
		st.failed = true
		s.log.Error("a node gets no port for its kubelet endpoint: kubectl logs and exec will not reach it", "node", node,
			"bind", s.cfg.Bind, "first", s.cfg.FirstPort, "ports", s.cfg.Ports, "err", last)
	}
	return 0
}

// preferred is the port at which the search for a node's port begins. It depends on the name
// only, so a node mostly gets the same port again.
func preferred(node string, ports int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node)) // never fails
	return int(h.Sum32() % uint32(ports))
}

// listenLocked opens the endpoint's port, if Run runs.
func (s *Server) listenLocked(st *endpoint) error {
	if s.serve == nil || st.listener != nil || st.port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(s.cfg.Bind, strconv.Itoa(st.port)))
	if err != nil {
		return err
	}
	st.listener = s.limiter.listener(&handoverListener{l, s})
	s.serve(st.listener)
	return nil
}

func (s *Server) removeNode(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byNode[node]; st != nil {
		s.removeNodeLocked(st)
	}
}

func (s *Server) removeNodeLocked(st *endpoint) {
	delete(s.byNode, st.node)
	delete(s.due, st.node)
	s.closePortLocked(st)
}

// closePortLocked closes the endpoint's port.
func (s *Server) closePortLocked(st *endpoint) {
	if s.byPort[st.port] == st {
		delete(s.byPort, st.port)
	}
	if st.listener != nil {
		st.listener.Close()
	}
	st.port, st.listener = 0, nil
	st.closeConnsLocked()
	st.wakeLocked()
	s.sessions.endpoints.Set(float64(len(s.byPort)))
}
