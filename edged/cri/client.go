package cri

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// DefaultSocket is where containerd listens by default.
const DefaultSocket = "/run/containerd/containerd.sock"

// maxMessage bounds one answer of the runtime. CRI lets a runtime return up to
// 16 MiB of output of a command on each of two streams.
const maxMessage = 34 << 20

// When it is logged that Check waits: after what any runtime that is well needs
// to answer, and then again and again.
const (
	firstNotice = time.Second
	nextNotice  = 10 * time.Second
)

// Config sets up a Client. Every field may be left zero.
type Config struct {
	Socket  string        // path of the runtime's socket, also as unix:// URL; "" means DefaultSocket
	Timeout time.Duration // for calls that do little work; 0 means 2 minutes
	// SlowTimeout bounds calls that may do much: making a sandbox, creating
	// and starting a container. 0 means 4 minutes. Pulls are not bounded.
	SlowTimeout time.Duration
	// CgroupDriver is how the runtime makes cgroups: DriverSystemd or
	// DriverCgroupfs. "" and "auto" mean that this is found out.
	CgroupDriver string
	Logger       *slog.Logger // nil discards
}

// Client is a runtime.Runtime, a runtime.Streams and a runtime.Meter on a CRI
// socket.
type Client struct {
	cfg        Config
	path       string
	conn       *grpc.ClientConn
	operations *operations
	run        runtimeapi.RuntimeServiceClient
	images     runtimeapi.ImageServiceClient
}

var _ runtime.Runtime = (*Client)(nil)

// SocketError says that the runtime's socket cannot be used, and what to do.
type SocketError struct {
	Path   string
	Reason error
	// Temporary is set when somebody holds the socket who does not answer yet:
	// a runtime that seems to be starting.
	Temporary bool
}

func (e *SocketError) Error() string {
	switch {
	case errors.Is(e.Reason, fs.ErrNotExist):
		return fmt.Sprintf("cri: no container runtime at %s: start containerd, or give the path of its socket", e.Path)
	case errors.Is(e.Reason, fs.ErrPermission):
		return fmt.Sprintf("cri: no permission to use %s: run as root", e.Path)
	}
	return fmt.Sprintf("cri: the container runtime at %s does not answer: %v", e.Path, e.Reason)
}

// Unwrap gives the cause.
func (e *SocketError) Unwrap() error { return e.Reason }

// New makes a Client. It does not connect yet: see Check.
func New(cfg Config) (*Client, error) {
	if cfg.Socket == "" {
		cfg.Socket = DefaultSocket
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Minute
	}
	if cfg.SlowTimeout == 0 {
		cfg.SlowTimeout = 4 * time.Minute
	}
	switch cfg.CgroupDriver {
	case "auto":
		cfg.CgroupDriver = ""
	case "", DriverSystemd, DriverCgroupfs:
	default:
		return nil, fmt.Errorf("cri: Config.CgroupDriver is %q: want systemd, cgroupfs or auto", cfg.CgroupDriver)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	path := strings.TrimPrefix(cfg.Socket, "unix://")
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("cri: Config.Socket %q is not the absolute path of a unix socket", cfg.Socket)
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	counted := newOperations()
	conn, err := grpc.NewClient("passthrough:///runtime",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithAuthority("localhost"),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithUnaryInterceptor(counted.intercept),
	)
	if err != nil {
		return nil, fmt.Errorf("cri: %w", err)
	}
	return &Client{cfg: cfg, path: path, conn: conn, operations: counted, run: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}, nil
}

// Close ends the connection. Twice is nil.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil && status.Code(err) != codes.Canceled {
		return fmt.Errorf("cri: %w", err)
	}
	return nil
}

// Check makes sure that a runtime answers on the socket and speaks CRI v1. It
// waits up to Config.Timeout for the answer, and logs that it waits. Its error is
// a *SocketError.
func (c *Client) Check(ctx context.Context) error {
	info, err := os.Stat(c.path)
	if err != nil {
		return &SocketError{Path: c.path, Reason: err}
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return &SocketError{Path: c.path, Reason: errors.New("it is not a socket")}
	}
	probe, err := (&net.Dialer{}).DialContext(ctx, "unix", c.path)
	if err != nil {
		return &SocketError{Path: c.path, Reason: err, Temporary: errors.Is(err, syscall.ECONNREFUSED)}
	}
	probe.Close()
	err = c.watchCall(ctx, func(ctx context.Context) error {
		_, err := c.Version(ctx)
		return err
	})
	if err != nil {
		code := status.Code(err)
		if code == codes.Unimplemented {
			err = errors.New("it does not speak CRI v1; in containerd's configuration the cri plugin must not be disabled")
		}
		return &SocketError{Path: c.path, Reason: err, Temporary: code == codes.Unavailable || code == codes.DeadlineExceeded}
	}
	return nil
}

// watchCall makes a call and logs while there is no answer, so that somebody who
// watches a start knows what it waits for and what to do.
func (c *Client) watchCall(ctx context.Context, call func(context.Context) error) error {
	began := time.Now()
	answer := make(chan error, 1)
	go func() { answer <- call(ctx) }() // it is joined below: the call ends by itself, or with ctx
	next := time.NewTimer(firstNotice)
	defer next.Stop()
	for {
		select {
		case err := <-answer:
			return err
		case <-next.C:
			c.cfg.Logger.Warn("the container runtime has taken the connection and does not answer: look at its log, or restart it (for example systemctl restart containerd)",
				"endpoint", c.path, "waited", time.Since(began).Round(time.Second), "limit", c.cfg.Timeout)
			next.Reset(nextNotice)
		}
	}
}

// Version asks for the runtime's name and version.
func (c *Client) Version(ctx context.Context) (runtime.Version, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.Version(ctx, &runtimeapi.VersionRequest{Version: "v1"})
	if err != nil {
		return runtime.Version{}, failed("version", err)
	}
	return runtime.Version{Name: r.RuntimeName, Version: r.RuntimeVersion}, nil
}

// Health asks whether the runtime and its network are ready.
func (c *Client) Health(ctx context.Context) (runtime.Health, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return runtime.Health{}, failed("status", err)
	}
	h := runtime.Health{RuntimeMessage: "the runtime says nothing of itself", NetworkMessage: "the runtime says nothing of its network"}
	for _, cond := range r.GetStatus().GetConditions() {
		message := fmt.Sprintf("%s=%t reason:%s message:%s", cond.Type, cond.Status, cond.Reason, cond.Message)
		switch cond.Type {
		case runtimeapi.RuntimeReady:
			h.RuntimeReady, h.RuntimeMessage = cond.Status, message
		case runtimeapi.NetworkReady:
			h.NetworkReady, h.NetworkMessage = cond.Status, message
		}
	}
	version, err := c.Version(ctx)
	if err != nil {
		return runtime.Health{}, err
	}
	h.Features.ImageVolumes = mountsImages(version)
	h.Features.SupplementalGroupsPolicy = r.GetFeatures().GetSupplementalGroupsPolicy()
	for _, handler := range r.GetRuntimeHandlers() {
		can := handler.GetFeatures()
		h.Handlers = append(h.Handlers, runtime.Handler{
			Name: handler.GetName(), RecursiveReadOnlyMounts: can.GetRecursiveReadOnlyMounts(), UserNamespaces: can.GetUserNamespaces(),
		})
		if handler.GetName() == "" { // the default one
			h.Features.RecursiveReadOnlyMounts = can.GetRecursiveReadOnlyMounts()
		}
	}
	return h, nil
}

// Events streams the changes of containers.
func (c *Client) Events(ctx context.Context, fn func(runtime.Event)) error {
	stream, err := c.run.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return eventsFailed(ctx, err)
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return eventsFailed(ctx, err)
		}
		fn(runtime.Event{PodUID: e.GetPodSandboxStatus().GetMetadata().GetUid()})
	}
}

// eventsFailed tells apart a runtime without events and a stream that ended.
func eventsFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if status.Code(err) == codes.Unimplemented {
		return runtime.ErrNoEvents
	}
	return failed("events", err)
}

// quick bounds a call that does little work.
func (c *Client) quick(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// slow bounds a call that may do much work.
func (c *Client) slow(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.SlowTimeout)
}

// callError is a failed call. Its text is the runtime's own: it is shown in events
// and statuses.
type callError struct {
	verb string
	code codes.Code
	text string
}

func (e *callError) Error() string { return e.text }

// NotFound reports that the object does not exist.
func (e *callError) NotFound() bool { return e.code == codes.NotFound }

// GRPCStatus lets status.Code read the code.
func (e *callError) GRPCStatus() *status.Status { return status.New(e.code, e.text) }

// Is matches the context's errors for a call that was cancelled or ran out of
// time.
func (e *callError) Is(target error) bool {
	return target == context.Canceled && e.code == codes.Canceled ||
		target == context.DeadlineExceeded && e.code == codes.DeadlineExceeded
}

// failed makes a callError; nil stays nil.
func failed(verb string, err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("cri: %s: %w", verb, err)
	}
	return &callError{verb: verb, code: st.Code(), text: fmt.Sprintf("rpc error: code = %s desc = %s", st.Code(), st.Message())}
}

// missing reports whether the runtime does not have the object.
func missing(err error) bool { return status.Code(err) == codes.NotFound }
