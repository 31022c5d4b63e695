package pluginregistry_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/edgekit/edgekit/edged/pluginregistry"
)

// TestStaleSockets: sockets that nobody serves, such as those that a power cut leaves, keep
// no plugin waiting.
func TestStaleSockets(t *testing.T) {
	dir, _ := start(t, map[string]pluginregistry.Handler{pluginregistry.DRAPlugin: newHandler()})
	for i := range 3 {
		name := fmt.Sprintf("a%d.sock", i)
		hidden := filepath.Join(dir, "."+name) // nobody looks at it
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if err := errors.Join(l.Close(), os.Rename(hidden, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	p := &plugin{info: &registration.PluginInfo{Type: pluginregistry.DRAPlugin, Name: "d.example", Endpoint: "/d.sock", SupportedVersions: []string{"v1.DRAPlugin"}}}
	began := time.Now()
	defer serve(t, filepath.Join(dir, "z.sock"), p)()
	if s := <-p.answered; !s.PluginRegistered || time.Since(began) > 9*time.Second { // 30 seconds, if they did
		t.Errorf("%v after %s", s, time.Since(began))
	}
}
