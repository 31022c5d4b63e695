package hooks

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/edged/runtime"
)

// executor answers every command.
type executor struct {
	result runtime.ExecResult
	err    error
}

func (e executor) ExecSync(context.Context, string, []string, time.Duration) (runtime.ExecResult, error) {
	return e.result, e.err
}

func TestRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ok" || r.Header.Get("User-Agent") != "kube-lifecycle/1.37" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) corev1.LifecycleHandler {
		return corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("web")}}
	}
	exec := corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"stop"}}}
	for name, tt := range map[string]struct {
		hook   corev1.LifecycleHandler
		answer executor
		want   string // of the error; "" is none
	}{
		"exec":           {hook: exec},
		"exec fails":     {exec, executor{result: runtime.ExecResult{ExitCode: 3, Stderr: []byte("no")}}, "exited with 3: no"},
		"no exec":        {exec, executor{err: errors.New("runtime is away")}, "runtime is away"},
		"httpGet":        {hook: get("/ok")},
		"httpGet fails":  {hook: get("/other"), want: "statuscode: 418"},
		"tcpSocket":      {hook: corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{}}, want: "invalid handler"},
		"nothing at all": {want: "invalid handler"},
	} {
		target := Target{Executor: tt.answer, PodIP: host, Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(number)}}}
		err := Run(t.Context(), target, &tt.hook, time.Minute)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestSleep sleeps as long as the hook says, and not longer than the timeout.
func TestSleep(t *testing.T) {
	for _, tt := range []struct{ timeout, took time.Duration }{{0, 5 * time.Second}, {time.Minute, 5 * time.Second}, {2 * time.Second, 2 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			err := Run(t.Context(), Target{}, &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}, tt.timeout)
			if took := time.Since(began); took != tt.took || (err != nil) != (took < 5*time.Second) {
				t.Errorf("timeout %s: %s, %v", tt.timeout, took, err)
			}
		})
	}
}

// TestFallback makes an https hook of a server that speaks HTTP.
func TestFallback(t *testing.T) {
	var headers []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		headers = append(headers, r.Header.Get("Authorization")+r.Header.Get("X"))
	}))
	defer server.Close()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hook := &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
		Scheme: corev1.URISchemeHTTPS, HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "secret"}, {Name: "X", Value: "y"}},
	}}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	hook.HTTPGet.Port = intstr.FromInt32(int32(number))
	var events []string
	target := Target{PodIP: host, Fallback: func(message string) { events = append(events, message) }}
	if err := Run(t.Context(), target, hook, 0); err != nil {
		t.Fatal(err)
	}
	if len(headers) != 1 || headers[0] != "y" || len(events) != 1 || !strings.Contains(events[0], "retry with HTTP succeeded") {
		t.Errorf("headers %q, events %q", headers, events)
	}
	server.Close()
	target.Fallback = nil
	if err := Run(t.Context(), target, hook, 0); err == nil {
		t.Error("a server that is away counts as success")
	}
}
