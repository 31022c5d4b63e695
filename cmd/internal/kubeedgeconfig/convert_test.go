package kubeedgeconfig

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func convert(t *testing.T, name string) *Result {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	result, err := Convert(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestEdgecore(t *testing.T) {
	result := convert(t, "edgecore.yaml")
	want := map[string]any{
		"cloud": "192.0.2.10:10000", "transport": "websocket", "node-ip": "198.51.100.7", "node-labels": map[string]string{"plant": "north"},
		"register-with-taints": []string{"edge=yes:NoSchedule"}, "runtime-endpoint": "unix:///run/containerd/containerd.sock",
		"cgroups-per-qos": "true", "cluster-dns": []string{"169.254.96.16"}, "cluster-domain": "cluster.local", "container-log-max-size": "20Mi",
		"eviction-hard": map[string]string{"imagefs.available": "15%", "memory.available": "100Mi"}, "image-gc-high-threshold-percent": "80",
		"image-gc-low-threshold-percent": "40", "max-pods": "64", "resolv-conf": "/etc/resolv.conf", "static-pod-dir": "/etc/kubeedge/manifests",
		"system-reserved": map[string]string{"memory": "128Mi"}, "mqtt-mode": "external", "mqtt-broker": "tls://broker.example:8883",
		"mqtt-broker-ca": "/etc/mqtt/ca.crt", "mqtt-broker-cert": "/etc/mqtt/client.crt", "mqtt-broker-key": "/etc/mqtt/client.key",
		"mqtt-broker-username": "edge", "mqtt-broker-client-id": "plant", "rules-listen": "127.0.0.1:9061", "dmi-listen": "unix:///etc/kubeedge/dmi.sock",
	}
	if !reflect.DeepEqual(result.Settings, want) {
		for name := range want {
			if !reflect.DeepEqual(result.Settings[name], want[name]) {
				t.Errorf("%s: %#v, want %#v", name, result.Settings[name], want[name])
			}
		}
		for name, value := range result.Settings {
			if want[name] == nil {
				t.Errorf("%s: %#v is one too many", name, value)
			}
		}
	}
	if result.Program != "edgecore" || result.Node != "edge-7" {
		t.Errorf("program %q, node %q", result.Program, result.Node)
	}
	importance := make(map[string]Importance)
	for _, n := range result.Notes {
		importance[n.Field] = n.Importance
		if n.Reason == "" {
			t.Errorf("%s: no reason", n.Field)
		}
	}
	for field, want := range map[string]Importance{
		"modules.edgeHub.token": Look, "modules.eventBus.mqttPassword": Look, "modules.edged.tailoredKubeletConfig.volumePluginDir": Lost,
		"modules.edged.tailoredKubeletConfig.oldField": Lost, "modules.surprise.enable": Lost, "modules.edgeHub.heartbeat": NotNeeded,
		"modules.edged.tailoredKubeletConfig.cgroupDriver": NotNeeded, "modules.metaManager.metaServer.server": Look,
	} {
		if have, ok := importance[field]; !ok || have != want {
			t.Errorf("%s: importance %d, %t, want %d", field, have, ok, want)
		}
	}
}

func TestCloudcore(t *testing.T) {
	result := convert(t, "cloudcore.yaml")
	want := map[string]any{
		"kubeconfig": "/root/.kube/config", "metrics-listen": "127.0.0.1:9091", "keepalive": "30s", "max-nodes": "1000", "listen": ":10000",
		"advertise":        []string{"192.0.2.10:10000", "[2001:db8::1]:10000", "edge.example.com:10000"},
		"certificate-life": "8760h", "rules-listen": ":9443", "rules-timeout": "60s",
	}
	if !reflect.DeepEqual(result.Settings, want) {
		t.Errorf("settings\n%v, want\n%v", result.Settings, want)
	}
}

// TestSecretsStay looks for the secrets in everything that is printed.
func TestSecretsStay(t *testing.T) {
	result := convert(t, "edgecore.yaml")
	text := fmt.Sprint(result.Settings, result.Notes)
	for _, secret := range []string{"hash.of-a-secret-token", "the-password"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	if len(result.Secrets) != 2 {
		t.Errorf("%d secrets, want 2", len(result.Secrets))
	}
}

// TestEveryField has each field of the test files in a setting or a note.
func TestEveryField(t *testing.T) {
	for _, name := range []string{"edgecore.yaml", "cloudcore.yaml"} {
		for _, n := range convert(t, name).Notes {
			if n.Reason == "no field of KubeEdge that edgekit knows" && n.Field != "modules.surprise.enable" {
				t.Errorf("%s: nobody decided about %s", name, n.Field)
			}
		}
	}
}

const edgeHead = "apiVersion: edgecore.config.kubeedge.io/v1alpha2\nkind: EdgeCore\n"

func TestRefused(t *testing.T) {
	for want, text := range map[string]string{
		"want kind EdgeCore":       "apiVersion: v1\nkind: Pod\n",
		"want an object":           "[]",
		"correct the YAML":         "a: [",
		"is an alias":              edgeHead + "a: &x {b: c}\nd: *x\n",
		"want each name once":      edgeHead + "a: 1\na: 2\n",
		"nested over":              edgeHead + "a: " + strings.Repeat("{a: ", 40) + "1" + strings.Repeat("}", 40),
		"want HOST:PORT":           edgeHead + "modules: {edgeHub: {websocket: {server: here}}}\n",
		"want 0, 1 or 2":           edgeHead + "modules: {eventBus: {mqttMode: internal}}\n",
		"maxPods":                  edgeHead + "modules: {edged: {tailoredKubeletConfig: {maxPods: many}}}\n",
		"want true or false":       edgeHead + "modules: {edgeHub: {enable: maybe}}\n",
		"over 1048576 bytes":       strings.Repeat("#", maxFile+1),
		"want a number of days":    "apiVersion: cloudcore.config.kubeedge.io/v1alpha1\nkind: CloudCore\nmodules: {cloudHub: {edgeCertSigningDuration: -1}}\n",
		"want a number of seconds": "apiVersion: cloudcore.config.kubeedge.io/v1alpha1\nkind: CloudCore\nmodules: {cloudHub: {keepaliveInterval: soon}}\n",
	} {
		if _, err := Convert("f.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an error with %q", text, err, want)
		}
	}
}

// TestQUIC has the other form of the link.
func TestQUIC(t *testing.T) {
	result, err := Convert("f.yaml", []byte(edgeHead+"modules: {edgeHub: {quic: {enable: true, server: '192.0.2.1:10001'}, websocket: {enable: false, server: '192.0.2.1:10000'}}}\n"))
	if err != nil || result.Settings["cloud"] != "192.0.2.1:10000" || result.Settings["transport"] != "quic" || len(result.Notes) != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

func FuzzConvert(f *testing.F) {
	for _, name := range []string{"edgecore.yaml", "cloudcore.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(edgeHead + "a: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		result, err := Convert("f.yaml", text)
		if err != nil {
			return
		}
		for _, s := range result.Secrets {
			if len(s.Value) > 16 && bytes.Contains(fmt.Append(nil, result.Notes), s.Value) {
				t.Errorf("the value of %s is shown", s.Field)
			}
		}
	})
}

func ExampleConvert() {
	text := edgeHead + "modules: {edgeHub: {websocket: {server: '192.0.2.1:10000'}, token: secret}}\n"
	result, err := Convert("edgecore.yaml", []byte(text))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Settings["cloud"])
	fmt.Println(result.Notes[0].Field)
	// Output:
	// 192.0.2.1:10000
	// modules.edgeHub.token
}
