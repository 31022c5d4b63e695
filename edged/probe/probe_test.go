package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/edged/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/local":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://0.0.0.0/", http.StatusFound)
		case "/host":
			if r.Host != "me" || r.Header.Get("X-A") != "b" || r.URL.RawQuery != "q=1" {
				w.WriteHeader(http.StatusBadRequest)
			}
		}
	}))
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	port, _ := strconv.Atoi(u.Port())
	target := probe.Target{IP: u.Hostname(), Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
	for path, want := range map[string]bool{"/": true, "/bad": false, "/local": false, "/away": true, "/host?q=1": true} {
		g := &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("web"), HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "me"}, {Name: "X-A", Value: "b"}}}
		got, err := probe.Check(t.Context(), corev1.ProbeHandler{HTTPGet: g}, time.Second, target)
		if got.OK != want || got.Warning != (path == "/away") || err != nil {
			t.Errorf("%s: %+v %v", path, got, err)
		}
	}
	if _, err := probe.Check(t.Context(), corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("no")}}, time.Second, target); err == nil {
		t.Error("an unknown port is no error")
	}
	if got, err := probe.Check(t.Context(), corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}}, time.Second, target); !got.OK || err != nil {
		t.Error("tcp:", got, err)
	}
}

func TestGRPC(t *testing.T) {
	status := byte(1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write([]byte{0, 0, 0, 0, 2, 8, status})
		w.Header().Set("Grpc-Status", "0")
	}), Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	h := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(l.Addr().(*net.TCPAddr).Port)}}
	for _, want := range []bool{true, false} {
		got, err := probe.Check(t.Context(), h, time.Second, probe.Target{IP: "127.0.0.1"})
		if got.OK != want || err != nil {
			t.Errorf("want %t: %+v %v", want, got, err)
		}
		status = 2
	}
	srv.Close()
	<-done
}

func TestRunThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []int{1, 0, 0, 1, 0, 1, 1, 1, 0}
		start := time.Now()
		var log []string
		ctx, cancel := context.WithCancel(t.Context())
		i := 0
		target := probe.Target{Exec: func(context.Context, []string, time.Duration) (string, int, error) {
			if i == len(answers) {
				cancel()
				return "", 0, errors.New("end")
			}
			i++
			return "out", answers[i-1], nil
		}}
		err := probe.Run(ctx, probe.Config{
			Probe: &corev1.Probe{
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}, InitialDelaySeconds: 5, PeriodSeconds: 2, FailureThreshold: 3, SuccessThreshold: 2,
			},
			Started: start, Target: func() probe.Target { return target },
			Report: func(ok bool, _ string) { log = append(log, fmt.Sprint(time.Since(start), ok)) },
		})
		if want := fmt.Sprint([]string{"9s true", "19s false"}); err != nil || fmt.Sprint(log) != want {
			t.Errorf("%v, %v; want %s", log, err, want)
		}
	})
}

// TestRuntimeErrors: a probe that the runtime could not run counts neither as a success
// nor as a failure; a command that did not end in time counts as a failure.
func TestRuntimeErrors(t *testing.T) {
	for _, tt := range []struct {
		name       string
		err        error
		failed     bool
		wantErrors bool
	}{
		{"the runtime is away", errors.New("connection refused"), false, true},
		{"the command did not end in time", fmt.Errorf("cri: %w", context.DeadlineExceeded), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				failed, errored := false, 0
				err := probe.Run(ctx, probe.Config{
					Probe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}, PeriodSeconds: 1, FailureThreshold: 3},
					Target: func() probe.Target {
						return probe.Target{Exec: func(context.Context, []string, time.Duration) (string, int, error) { return "", 0, tt.err }}
					},
					Started: time.Now(), OK: true, UntilFailed: true,
					Report:  func(ok bool, _ string) { failed = !ok },
					Errored: func(error) { errored++ },
				})
				if err != nil || failed != tt.failed || errored > 0 != tt.wantErrors {
					t.Errorf("failed %t, %d errors, %v", failed, errored, err)
				}
			})
		})
	}
}

// TestStartInTheFuture: a container that was started while the clock was a year ahead is
// probed after its initial delay, not a year later.
func TestStartInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start, asked := time.Now(), time.Duration(0)
		err := probe.Run(ctx, probe.Config{
			Probe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}, InitialDelaySeconds: 5},
			Target: func() probe.Target {
				return probe.Target{Exec: func(context.Context, []string, time.Duration) (string, int, error) { return "", 0, nil }}
			},
			Started: start.AddDate(1, 0, 0), UntilOK: true,
			Report: func(bool, string) { asked = time.Since(start) },
		})
		if err != nil || asked != 5*time.Second {
			t.Errorf("asked after %s, %v", asked, err)
		}
	})
}

func ExampleCheck() {
	target := probe.Target{Exec: func(context.Context, []string, time.Duration) (string, int, error) { return "fine", 0, nil }}
	answer, err := probe.Check(context.Background(), corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}, time.Second, target)
	fmt.Println(answer.OK, answer.Detail, err)
	// Output: true fine <nil>
}
