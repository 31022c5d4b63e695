package volume

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

type noSource struct{}

func (noSource) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return nil, nil
}
func (noSource) Secret(context.Context, string, string) (*corev1.Secret, error) { return nil, nil }
func (noSource) Token(context.Context, string, string, *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return nil, nil
}

// TestSecretMemory has kernels that know noswap, that do not, and one that lets
// this program mount nothing: then it is logged and passed to OnDisk once.
func TestSecretMemory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mount  func(options string) error
		want   string // what was mounted for three volumes
		calls  int
		failed bool
	}{
		{"new kernel", func(string) error { return nil }, "[noswap noswap noswap]", 0, false},
		{"old kernel", func(options string) error {
			if options != "" {
				return syscall.EINVAL
			}
			return nil
		}, "[noswap   ]", 0, false},
		{"may not mount", func(string) error { return syscall.EPERM }, "[noswap noswap noswap]", 1, false},
		{"out of memory", func(string) error { return syscall.ENOMEM }, "[noswap noswap noswap]", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			calls := 0
			m, err := New(Config{Root: t.TempDir(), Source: noSource{}, Logger: slog.New(slog.NewTextHandler(&log, nil)), OnDisk: func(error) { calls++ }})
			if err != nil {
				t.Fatal(err)
			}
			var mounted []string
			m.mount = func(_, _, options string) error {
				mounted = append(mounted, options)
				return tt.mount(options)
			}
			for range 3 {
				if err := m.secretMemory(t.TempDir()); (err != nil) != tt.failed {
					t.Errorf("error %v", err)
				}
			}
			if got := fmt.Sprint(mounted); got != tt.want || calls != tt.calls || strings.Count(log.String(), "secrets are written to disk") != tt.calls {
				t.Errorf("mounted %s, told %d times, log: %s", got, calls, log.String())
			}
		})
	}
}
