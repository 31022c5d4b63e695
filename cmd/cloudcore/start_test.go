package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestEndsWhileItStarts asks cloudcore to end at many moments of its start: it ends with 0 each
// time.
func TestEndsWhileItStarts(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: emptyCluster(t).Host}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	hubtest.RunEnds(t, time.Second, func() (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			var log bytes.Buffer
			c := &cli{}
			p := program.Program{Name: "cloudcore", CLI: c, Command: c.command, ConfigFile: filepath.Join(t.TempDir(), "none.yaml"), Stdout: io.Discard, Stderr: &log}
			if code := p.Run(ctx, []string{"--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0", "--no-quic", "--advertise", "127.0.0.1:10000", "--kubelet-address", "127.0.0.1"}); code != 0 {
				return fmt.Errorf("%d: %s", code, &log)
			}
			return nil
		}, nil
	})
}
