package e2e

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed mqtt.yaml
var mqttYAML string

// TestMQTT is what pods may do at the node's broker, without the rest: MQTT=1 go test -run TestMQTT ./e2e.
func TestMQTT(t *testing.T) {
	if os.Getenv("MQTT") == "" {
		t.Skip("MQTT is not set")
	}
	s := deviceSite(t)
	mqttForPods(t, s)
	budgets(t, s)
}

// mqttForPods runs an ordinary Deployment whose pod uses the node's broker at the node's
// address with its service account's token: it may do what the role app may in its own
// namespace, and nothing else; without a token it does not get in.
func mqttForPods(t *testing.T, s *site.Site) {
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
	}
	ctx := within(t, 5*time.Minute)
	k := newKube(t, s)
	k.run(ctx, mqttYAML, "apply", "-f", "-")
	defer k.run(ctx, mqttYAML, "delete", "-f", "-")
	k.ready(ctx, "publisher", 1)
	const refused, api, own = "Not authorized", "/var/run/secrets/kubernetes.io/serviceaccount/token ", "/mqtt/token "
	want := map[string]string{"without ": "authorized", "wrong ": "authorized"}
	for _, token := range []string{api, own} {
		for what, text := range map[string]string{"own ": "", "free ": "", "other ": refused, "forged ": refused, "list ": refused} {
			want[token+what] = text
		}
	}
	k.until(ctx, func() error {
		logs := k.run(ctx, "", "-n", tour.Namespace, "logs", "-l", "app=publisher", "--tail=40")
		for what, text := range want {
			_, said, found := strings.Cut("\n"+logs, "\n"+what)
			said, _, _ = strings.Cut(said, ".\n")
			if !found || !strings.Contains(said, text) || (text == "" && strings.Contains(said, "rror")) || (text == "" && strings.Contains(said, refused)) {
				return fmt.Errorf("the pod's try %q was answered with %q, want %q; all: %s", what, said, text, logs)
			}
		}
		return nil
	})
	k.until(ctx, func() error { // the twin has what the pod wants
		twins, err := s.Twins(ctx, tour.Namespace, tour.Device)
		if err == nil && (twins["target"].Expected == nil || twins["target"].Expected.Value != "24") {
			err = fmt.Errorf("the twin is %+v", twins["target"].Expected)
		}
		return err
	})
}
