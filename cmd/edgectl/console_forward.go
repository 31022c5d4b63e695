package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	clientspdy "k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// podForward connects to a port of a pod of cloudcore through the API server, as kubectl
// port-forward does, but without a port on this machine. When a pod goes it takes another.
type podForward struct {
	cfg       *rest.Config
	client    kubernetes.Interface
	namespace string
	port      int

	mu   sync.Mutex
	conn httpstream.Connection // nil until it is needed
	next int                   // number of the next stream
}

// dial opens a connection. It has the signature of http.Transport's DialContext.
func (f *podForward) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, id, err := f.connection(ctx)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	header.Set(corev1.PortHeader, strconv.Itoa(f.port))
	header.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	problems, err := conn.CreateStream(header)
	if err != nil {
		return nil, f.lost(conn, err)
	}
	_ = problems.Close() // this side writes nothing to it
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(header)
	if err != nil {
		return nil, f.lost(conn, err)
	}
	return &podConn{Stream: data, problems: problems, conn: conn}, nil
}

// connection returns the connection to the pod and the number of a new stream in it.
func (f *podForward) connection(ctx context.Context) (httpstream.Connection, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	if f.conn != nil {
		select {
		case <-f.conn.CloseChan():
			_ = f.conn.Close() // it is closed already
		default:
			return f.conn, f.next, nil
		}
	}
	pod, err := f.pod(ctx)
	if err != nil {
		return nil, 0, err
	}
	f.conn, err = f.connect(pod)
	if err != nil {
		f.conn = nil
		return nil, 0, fmt.Errorf("connect to pod %s/%s through the API server: %w", f.namespace, pod, err)
	}
	return f.conn, f.next, nil
}

// lost drops a connection in which no stream can be opened.
func (f *podForward) lost(conn httpstream.Connection, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = conn.Close() // it is of no use
	if f.conn == conn {
		f.conn = nil
	}
	return fmt.Errorf("connect to cloudcore's pod: %w", err)
}

func (f *podForward) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_ = f.conn.Close() // nothing is left to be sent
	}
}

// pod returns a pod of cloudcore that is ready.
func (f *podForward) pod(ctx context.Context) (string, error) {
	pods, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=cloudcore"})
	if apierrors.IsForbidden(err) {
		return "", fmt.Errorf("find cloudcore: %w: use --server if cloudcore's console can be reached directly", err)
	}
	if err != nil {
		return "", fmt.Errorf("find cloudcore: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
				return pod.Name, nil
			}
		}
	}
	if len(pods.Items) > 0 {
		return "", fmt.Errorf("no pod of cloudcore in namespace %s is ready: kubectl -n %s get pods", f.namespace, f.namespace)
	}
	return "", fmt.Errorf("there is no pod of cloudcore in namespace %s: set --namespace, or --server https://HOST:%d if cloudcore runs elsewhere", f.namespace, f.port)
}

// connect opens the streaming connection: over WebSocket, and over SPDY where a proxy or an
// older API server does not let that through.
func (f *podForward) connect(pod string) (httpstream.Connection, error) {
	to := f.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(f.namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := clientspdy.RoundTripperFor(f.cfg)
	if err != nil {
		return nil, err
	}
	dialer := clientspdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, to)
	if ws, err := portforward.NewSPDYOverWebsocketDialerForStreaming(to, f.cfg); err == nil {
		dialer = portforward.NewFallbackDialerForStreaming(ws, dialer, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		})
	}
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	return conn, err
}

// podConn is a stream to the pod as a net.Conn. It has no deadlines: its user closes it.
type podConn struct {
	httpstream.Stream
	problems httpstream.Stream
	conn     httpstream.Connection
	once     sync.Once
}

// Read reads from the pod. When the pod refuses the connection, the error says why.
func (c *podConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if n == 0 && errors.Is(err, io.EOF) {
		if text, _ := io.ReadAll(io.LimitReader(c.problems, 1024)); len(text) > 0 {
			return 0, fmt.Errorf("the pod's port is not reached: %s", text)
		}
	}
	return n, err
}

// Close ends the stream both ways.
func (c *podConn) Close() error {
	c.once.Do(func() {
		c.conn.RemoveStreams(c.Stream, c.problems)
		_ = c.Stream.Reset() // the other side may be gone
		_ = c.problems.Reset()
	})
	return nil
}

func (*podConn) LocalAddr() net.Addr              { return podAddr{} }
func (*podConn) RemoteAddr() net.Addr             { return podAddr{} }
func (*podConn) SetDeadline(time.Time) error      { return nil }
func (*podConn) SetReadDeadline(time.Time) error  { return nil }
func (*podConn) SetWriteDeadline(time.Time) error { return nil }

// podAddr is the address of what has none.
type podAddr struct{}

func (podAddr) Network() string { return "pod" }
func (podAddr) String() string  { return "cloudcore" }
