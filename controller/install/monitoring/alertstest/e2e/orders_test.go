package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
)

// orders are causes that begin with an object which a user applies.
func (w *world) orders() []cause {
	stuckPull := make(chan struct{})
	return []cause{
		{ // a node's message whose URL does not take it, and whose rule tries it once
			[]string{"EdgekitDeadLetters"}, programs,
			w.deadLetters, func(*testing.T) {}, // the messages are gone
		},
		{ // a device that reports a value and is then offline
			[]string{"EdgekitNodeTwinsStale"}, programs,
			func(t *testing.T) { w.offlineDevice(t) },
			func(t *testing.T) { w.reportDevice(t, "online", "0") },
		},
		{ // a runtime that does not end a pull
			[]string{"EdgekitUpgradeStuck"}, programs,
			func(t *testing.T) {
				w.runtime.FailWith(func(call string) error {
					if strings.HasPrefix(call, "PullImage registry.example/large") {
						<-stuckPull
						return errors.New("the registry has gone")
					}
					return nil
				})
				t.Cleanup(sync.OnceFunc(func() {
					select {
					case <-stuckPull:
					default:
						close(stuckPull)
					}
				}))
				w.apply(t, stuckPullYAML)
				reaches(t, w.cloudSees, "cloudcore_jobs_working_nodes", "1")
			},
			func(*testing.T) { close(stuckPull) },
		},
		{ // a server that takes the node's request for its program and does not answer
			[]string{"EdgekitNodeUpgradeStuck"}, programs,
			func(t *testing.T) {
				w.apply(t, strings.ReplaceAll(stuckDownloadYAML, "HOST", w.artifacts.host))
				reaches(t, w.secondSees, "edgecore_upgrade_phase", "1")
			},
			func(*testing.T) { w.artifacts.release() }, // with an error, which ends the job
		},
	}
}

// wrongClock is an edgecore to which it is later than it is.
func (w *world) wrongClock() cause {
	right := w.second.path
	return cause{
		[]string{"EdgekitNodeClockSkew", "EdgekitFleetClockSkew"}, programs,
		func(t *testing.T) { w.second.stop(); w.second.path = buildAhead(t, w.bin); w.second.start(t) },
		func(t *testing.T) { w.second.stop(); w.second.path = right; w.second.start(t) },
	}
}

const rulesYAML = `
apiVersion: rules.kubeedge.io/v1
kind: RuleEndpoint
metadata: {name: mqtt, namespace: default}
spec: {ruleEndpointType: eventbus}
---
apiVersion: rules.kubeedge.io/v1
kind: RuleEndpoint
metadata: {name: erp, namespace: default}
spec: {ruleEndpointType: rest}
---
apiVersion: rules.kubeedge.io/v1
kind: Rule
metadata: {name: orders, namespace: default}
spec:
  source: mqtt
  sourceResource: {topic: orders, node_name: edge-1}
  target: erp
  targetResource: {resource: "URL"}
  ttl: 0s
`

const deviceYAML = `
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: tank, namespace: plant}
spec:
  protocol: none
  properties:
  - {name: level, type: INT, accessMode: ReadOnly}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: tank, namespace: plant}
spec:
  deviceModelRef: {name: tank}
  nodeName: edge-1
  protocol: {protocolName: none}
  properties:
  - {name: level, reportToCloud: true}
`

// The time of a node for the job is longer than that of the alert: a node whose time is over no longer works on it.
const stuckPullYAML = `
apiVersion: operations.kubeedge.io/v1alpha2
kind: ImagePrePullJob
metadata: {name: stuck}
spec:
  imagePrePullTemplate:
    images: [registry.example/large:1]
    nodeNames: [edge-1]
    timeoutSeconds: 600
`

const stuckDownloadYAML = `
apiVersion: operations.kubeedge.io/v1alpha2
kind: NodeUpgradeJob
metadata: {name: stuck}
spec:
  version: v9.9.9
  artifact: {http: "http://HOST/edgecore.tar"}
  nodeNames: [edge-2]
`

// deadLetters publishes messages until cloudcore has given one up: the node has to learn of the rule first.
func (w *world) deadLetters(t *testing.T) {
	t.Helper()
	target := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(target.Close)
	w.apply(t, strings.ReplaceAll(rulesYAML, "URL", target.URL))
	until(t, patience, func() string {
		w.publish(t, "default/orders", "an order")
		if n := metric(t, w.cloudSees, "cloudcore_rules_dead_letters_total"); n == "" || n == "0" {
			return "cloudcore has given no message up"
		}
		return ""
	})
}

// offlineDevice has a device report a value, and then that it is offline.
func (w *world) offlineDevice(t *testing.T) {
	t.Helper()
	w.apply(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"plant"}}`)
	w.apply(t, deviceYAML)
	w.reportDevice(t, "offline", "1")
}

// reportDevice has the device report a value and its state, until so many twins of the node are stale: the
// node has to learn of the device first, and to have room for what it says.
func (w *world) reportDevice(t *testing.T, state, stale string) {
	t.Helper()
	until(t, patience, func() string {
		w.publish(t, "$hw/events/device/plant/tank/twin/update", `{"twin":{"level":{"actual":{"value":"7"}}}}`)
		w.publish(t, "$hw/events/device/plant/tank/state/update", fmt.Sprintf(`{"state":%q}`, state))
		if n := metric(t, w.edgeSees, "edgekit_twins_stale"); n != stale {
			return fmt.Sprintf("%q twins of the node are stale, want %s", n, stale)
		}
		return ""
	})
}

// reaches waits until a series of a program has a value.
func reaches(t *testing.T, address, series, want string) {
	t.Helper()
	until(t, patience, func() string {
		if got := metric(t, address, series); got != want {
			return fmt.Sprintf("%s is %q, want %s", series, got, want)
		}
		return ""
	})
}

// publish publishes one message at the broker of edgecore, as a mapper on its machine does.
func (w *world) publish(t *testing.T, topic, payload string) {
	t.Helper()
	c, err := client.New(client.Config{URL: "tcp://" + w.mqtt, ClientID: "alerts"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }() // until cancel
	select {
	case <-c.Ready():
	case err := <-ended:
		t.Fatalf("the client of edgecore's broker ends: %v", err)
	}
	if err := c.PublishWait(ctx, bus.Message{Topic: topic, Payload: []byte(payload), QoS: bus.AtLeastOnce}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// apply creates the objects of a YAML file with several documents.
func (w *world) apply(t *testing.T, text string) {
	t.Helper()
	c, err := dynamic.NewForConfig(w.api.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		gvk := o.GroupVersionKind()
		objects := c.Resource(schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: strings.ToLower(gvk.Kind) + "s"}).Namespace(o.GetNamespace())
		if _, err := objects.Create(t.Context(), &o, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatalf("create %s %s: %v", gvk.Kind, o.GetName(), err)
		}
	}
}

// trust is a folder with a key that a node trusts.
func trust(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "release.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: text}), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hangingServer takes requests and does not answer them until release; then there is nothing.
type hangingServer struct {
	host    string
	release func()
}

func newHangingServer(t *testing.T) *hangingServer {
	t.Helper()
	released := make(chan struct{})
	s := &hangingServer{release: sync.OnceFunc(func() { close(released) })}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
			http.NotFound(w, r)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { s.release(); server.Close() })
	s.host = server.Listener.Addr().String()
	return s
}
