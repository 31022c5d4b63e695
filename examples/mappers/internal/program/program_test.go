package program

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
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
