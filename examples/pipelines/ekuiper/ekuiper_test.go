package ekuiper

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/topics"
)

// ruleset is the format that eKuiper documents for ruleset import and data/init.json.
type ruleset struct {
	Streams, Tables, Rules map[string]string
}

// rule is the part of a rule that the test looks at.
type rule struct {
	ID      string
	SQL     string
	Options map[string]any
	Actions []map[string]struct {
		Server, ProtocolVersion, Topic, DataTemplate string
		QoS                                          int
		SendSingle                                   bool
	}
}

func read(t *testing.T) (ruleset, rule, string) {
	t.Helper()
	text, err := os.ReadFile("ruleset.json")
	if err != nil {
		t.Fatal(err)
	}
	var set ruleset
	var average rule
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(set.Rules["average"]), &average); err != nil {
		t.Fatal(err)
	}
	return set, average, string(text)
}

// TestRuleset: the stream's filter matches the plant's topics, and a row of the rule becomes a twin update
// that edgecore takes.
func TestRuleset(t *testing.T) {
	set, average, _ := read(t)
	source := regexp.MustCompile(`DATASOURCE="([^"]+)"`).FindStringSubmatch(set.Streams["temps"])
	if source == nil || bus.ValidateFilter(source[1]) != nil || !bus.Match(source[1], "plant/boiler/temp") {
		t.Errorf("the stream %s", set.Streams["temps"])
	}
	if average.ID != "average" || !strings.Contains(average.SQL, "FROM temps") || len(average.Actions) != 1 {
		t.Fatalf("%+v", average)
	}
	action := average.Actions[0]["mqtt"]
	if action.Server != broker.DefaultAddress || action.QoS != 1 || !action.SendSingle {
		t.Errorf("%+v, edgecore's broker is at %s", action, broker.DefaultAddress)
	}
	render := func(text string) string {
		t.Helper()
		var b strings.Builder
		tmpl, err := template.New("").Option("missingkey=error").Parse(text)
		if err == nil {
			err = tmpl.Execute(&b, map[string]any{"device": "boiler", "celsius": 90.96})
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	device, what, ok := topics.ParseDevice(render(action.Topic))
	if !ok || device != "plant/boiler" || what != topics.TwinUpdate {
		t.Errorf("topic %s", render(action.Topic))
	}
	var update topics.TwinUpdateMessage
	if err := json.Unmarshal([]byte(render(action.DataTemplate)), &update); err != nil || *update.Twin["temperature"].Actual.Value != "91.0" {
		t.Errorf("%s: %v", render(action.DataTemplate), err)
	}
}

// TestPod: pod.yaml has no unknown fields, the rules of ruleset.json, and the broker's address.
func TestPod(t *testing.T) {
	_, _, rules := read(t)
	text, err := os.ReadFile("pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, second, ok := strings.Cut(string(text), "\n---\n")
	var config corev1.ConfigMap
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(first), &config); err != nil || !ok {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(second), &pod); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(config.Data["init.json"]) != strings.TrimSpace(rules) {
		t.Error("pod.yaml has other rules than ruleset.json")
	}
	want := corev1.EnvVar{Name: "MQTT_SOURCE__DEFAULT__SERVER", Value: broker.DefaultAddress}
	if !pod.Spec.HostNetwork || !slices.Contains(pod.Spec.Containers[0].Env, want) {
		t.Errorf("the pod does not reach %s", broker.DefaultAddress)
	}
}
