package program

import (
	"context"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no node":       {nil, 2, "--node"},
		"unknown flag":  {[]string{"--node=a", "--brokr=x"}, 2, "--brokr"},
		"bad broker":    {[]string{"--node=a", "--broker=nonsense"}, 1, "--broker"},
		"no such file":  {[]string{"--node=a", "--password-file=/does/not/exist"}, 1, "--password-file"},
		"bad duration":  {[]string{"--node=a", "--timeout=fast"}, 2, "--timeout"},
		"two secrets":   {[]string{"--node=a", "--secrets-dir=/x", "--secrets-api"}, 1, "--secrets-dir and --secrets-api"},
		"not in a pod":  {[]string{"--node=a", "--secrets-api"}, 1, "not in a pod"},
		"help":          {[]string{"--help"}, 0, "edge node"},
		"ended at once": {[]string{"--node=a", "--broker=tcp://127.0.0.1:1"}, 0, "mapper starts"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var out strings.Builder
			code := Run(ctx, &out, test.args, device.Config{Protocol: "modbus", New: func() device.Driver { return new(devicetest.Device) }})
			if code != test.code || !strings.Contains(out.String(), test.says) {
				t.Errorf("code %d, want %d; output %q, want %q in it", code, test.code, out.String(), test.says)
			}
		})
	}
}

// TestRequestsItsProtocol has the program request the devices of its protocol only: a user of the
// broker whose rule names protocols may request no other list.
func TestRequestsItsProtocol(t *testing.T) {
	inside, url := bustest.Broker(t)
	requested := make(chan string, 1)
	unsubscribe, err := inside.Subscribe(topics.Node("edge-7", "#"), func(_ context.Context, m bus.Message) {
		select {
		case requested <- m.Topic:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- Run(running, io.Discard, []string{"--node=edge-7", "--protocol=acme", "--broker=" + url},
			device.Config{Protocol: "modbus", New: func() device.Driver { return new(devicetest.Device) }})
	}()
	if got, want := <-requested, topics.Node("edge-7", topics.OfProtocol("acme", topics.MembershipDetail)); got != want {
		t.Errorf("the first request is %s, want %s", got, want)
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("code %d", got)
	}
	unsubscribe()
}
