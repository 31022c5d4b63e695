package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// The bounds of a request.
const (
	maxCommand = 128 << 10 // bytes of all arguments; Linux takes no single one over this
	maxPorts   = 128       // of one port forward over WebSocket
)

// statusError is an error with a status code of its own.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// exec runs a command in a container.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := streaming(r)
	if err != nil {
		answer(w, err)
		return
	}
	// The command comes as one query parameter for each argument.
	cmd := r.URL.Query()["command"]
	size := 0
	for _, arg := range cmd {
		size += len(arg)
	}
	switch {
	case len(cmd) == 0 || cmd[0] == "":
		answer(w, &statusError{http.StatusBadRequest, "you must specify a command"})
		return
	case size > maxCommand:
		answer(w, &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("a command of %d bytes: at most %d", size, maxCommand)})
		return
	}
	pod, err := s.pod(r)
	if err != nil {
		answer(w, err)
		return
	}
	c, err := s.running(r.Context(), pod, r.PathValue("container"))
	if err == nil && c == nil {
		err = fmt.Errorf("container not found (%q)", r.PathValue("container"))
	}
	if err != nil {
		answer(w, err)
		return
	}
	// A session is prepared only for a client that can use it: the runtime keeps it for a
	// while.
	if !upgradeWanted(w, r) {
		return
	}
	target, err := s.cfg.Runtime.ExecURL(r.Context(), c.ID, cmd, opts)
	s.connect(w, r, target, err, opts)
}

// attach joins a container's first process.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	opts, err := streaming(r)
	if err != nil {
		answer(w, err)
		return
	}
	pod, err := s.pod(r)
	if err != nil {
		answer(w, err)
		return
	}
	name := r.PathValue("container")
	c, err := s.running(r.Context(), pod, name)
	made := spec(pod, name)
	if err == nil && (c == nil || made == nil) {
		err = fmt.Errorf("container %s not found in pod %s", name, fullName(pod))
	}
	if err != nil {
		answer(w, err)
		return
	}
	if !upgradeWanted(w, r) {
		return
	}
	// Whether there is a terminal was decided when the container was made.
	opts.TTY = made.TTY
	opts.Stderr = opts.Stderr && !made.TTY
	target, err := s.cfg.Runtime.AttachURL(r.Context(), c.ID, opts)
	s.connect(w, r, target, err, opts)
}

// portForward opens connections to ports of a pod.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod, err := s.pod(r)
	if err != nil {
		answer(w, err)
		return
	}
	var ports []int32
	// Over SPDY each stream names its port; a plain WebSocket names all of them here.
	if isWebSocket(r) && !speaks(r, tunnelProtocol) {
		if ports, err = parsePorts(r.URL.Query()["port"]); err != nil {
			answer(w, err)
			return
		}
	}
	if !upgradeWanted(w, r) {
		return
	}
	all, err := s.cfg.Runtime.ListSandboxes(r.Context(), string(pod.UID))
	if err != nil {
		answer(w, err)
		return
	}
	// Ports are those of the newest sandbox that runs: an older one may still be stopping.
	all = slices.DeleteFunc(all, func(sb runtime.Sandbox) bool { return !sb.Ready })
	if len(all) == 0 {
		answer(w, fmt.Errorf("pod not found (%q)", fullName(pod)))
		return
	}
	newest := slices.MaxFunc(all, func(a, b runtime.Sandbox) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Attempt, b.Attempt))
	})
	target, err := s.cfg.Runtime.PortForwardURL(r.Context(), newest.ID, ports)
	s.connect(w, r, target, err, runtime.Streaming{})
}

// pod finds the pod that a request names.
func (s *Server) pod(r *http.Request) (*corev1.Pod, error) {
	pod := s.cfg.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		return nil, &statusError{http.StatusNotFound, "pod does not exist"}
	}
	if want := r.PathValue("uid"); want != "" && want != string(pod.UID) {
		return nil, &statusError{http.StatusNotFound, "pod not found"}
	}
	return pod, nil
}

// fullName is what the kubelet calls a pod in its errors.
func fullName(pod *corev1.Pod) string { return pod.Name + "_" + pod.Namespace }

// running finds a pod's running container by name. It is nil if the container has
// not started yet or has ended, also because the pod is being deleted.
func (s *Server) running(ctx context.Context, pod *corev1.Pod, name string) (*runtime.Container, error) {
	all, err := s.cfg.Runtime.ListContainers(ctx, string(pod.UID))
	if err != nil {
		return nil, err
	}
	var found *runtime.Container
	for i, c := range all {
		if c.Name == name && c.State == runtime.ContainerRunning && (found == nil || c.Created.After(found.Created)) {
			found = &all[i]
		}
	}
	return found, nil
}

// streaming reads which streams a request wants.
func streaming(r *http.Request) (runtime.Streaming, error) {
	q := r.URL.Query()
	on := func(name string) bool { return q.Get(name) == "1" || q.Get(name) == "true" }
	out := runtime.Streaming{Stdin: on("input"), Stdout: on("output"), Stderr: on("error"), TTY: on("tty")}
	out.Stderr = out.Stderr && !out.TTY
	if !out.Stdin && !out.Stdout && !out.Stderr {
		return out, &statusError{http.StatusBadRequest, "you must specify at least 1 of stdin, stdout, stderr"}
	}
	return out, nil
}

// parsePorts reads the ports of a port forward over WebSocket.
func parsePorts(values []string) ([]int32, error) {
	var out []int32
	for _, v := range values {
		for p := range strings.SplitSeq(v, ",") {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil || n == 0 {
				return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("port %q: want a number from 1 to 65535", p)}
			}
			out = append(out, int32(n))
		}
	}
	switch {
	case len(out) == 0:
		return nil, &statusError{http.StatusBadRequest, `query parameter "port" is required`}
	case len(out) > maxPorts:
		return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("%d ports: at most %d at once", len(out), maxPorts)}
	}
	return out, nil
}

// upgradeWanted answers with an error to a request that asks for no other
// protocol.
func upgradeWanted(w http.ResponseWriter, r *http.Request) bool {
	if hasToken(r.Header, "Connection", "upgrade") && r.Header.Get("Upgrade") != "" {
		return true
	}
	answer(w, &statusError{http.StatusBadRequest, "Upgrade request required"})
	return false
}

// connect joins the connection of the request to the session that the runtime
// serves at target, until either side ends.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, target string, err error, opts runtime.Streaming) {
	if err != nil {
		answer(w, err)
		return
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		answer(w, fmt.Errorf("the container runtime names no URL to stream on: %q", target))
		return
	}
	if s.translate(w, r, u, opts) {
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.Out.URL, p.Out.Host = u, u.Host },
		Transport: s.proxy,
		ErrorLog:  nil,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				s.log.Warn("a session with the container runtime failed", "path", r.URL.Path, "err", err)
			}
			fail(w, http.StatusBadGateway, fmt.Errorf("the container runtime does not stream: %w", err))
		},
	}
	proxy.ServeHTTP(w, r)
}

// answer gives an error to the client: with status 500 unless the error has
// another, as the kubelet does.
func answer(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if e, ok := errors.AsType[*statusError](err); ok {
		code = e.status
	}
	if m, ok := errors.AsType[interface {
		error
		NotFound() bool
	}](err); ok && m.NotFound() {
		code = http.StatusNotFound
	}
	fail(w, code, err)
}

// isWebSocket reports whether a request asks for a WebSocket.
func isWebSocket(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// hasToken reports whether a header lists a token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, v := range h[http.CanonicalHeaderKey(name)] {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
