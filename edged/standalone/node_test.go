package standalone_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/edged/standalone"
)

const manifest = `
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  containers: [{name: main, image: busybox, imagePullPolicy: IfNotPresent}]
`

// TestFolder runs a pod of a folder on a node with no API server.
func TestFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, pods := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(pods, "web.yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		node, rt := standalone.New(slog.New(slog.NewTextHandler(&log, nil))), runtimetest.New()
		rt.AddImage("docker.io/library/busybox:latest")
		agent, err := edged.New(edged.Config{
			NodeName: "gate-7", Runtime: rt, Objects: node, Reports: node, StaticPodDir: pods,
			Root: filepath.Join(dir, "root"), LogRoot: filepath.Join(dir, "logs"),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- agent.Run(ctx) }()
		time.Sleep(5 * time.Second)
		pod := agent.Pod("default", "web-gate-7")
		if pod == nil || pod.Status.Phase != corev1.PodRunning {
			t.Errorf("the pod of the folder is %+v", pod)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "reason=Started") {
			t.Errorf("no event in the log: %s", log.String())
		}
	})
}

// TestNothingAbove reads objects that a node without an API server does not have.
func TestNothingAbove(t *testing.T) {
	node := standalone.New(nil)
	var missing interface{ NotFound() bool }
	if _, err := node.ConfigMap(t.Context(), "a", "b"); !errors.As(err, &missing) || !missing.NotFound() {
		t.Errorf("ConfigMap: %v", err)
	}
	if _, err := node.Secret(t.Context(), "a", "b"); !errors.As(err, &missing) || !missing.NotFound() {
		t.Errorf("Secret: %v", err)
	}
	if _, err := node.Token(t.Context(), "a", "b", nil); !errors.Is(err, standalone.ErrNoTokens) {
		t.Errorf("Token: %v", err)
	}
}
