package install_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	rulesv1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// rulesSchema checks what the API server itself accepts of rules, by the schema and its CEL.
func rulesSchema(t *testing.T, a *apiservertest.Server) {
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	create := func(kind, resource string, spec map[string]any) error {
		number++
		u := unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "rules.kubeedge.io/v1", "kind": kind, "spec": spec,
			"metadata": map[string]any{"name": fmt.Sprint("r", number), "namespace": "default"},
		}}
		_, err := client.Resource(rulesv1.GroupVersion().WithResource(resource)).Namespace("default").Create(t.Context(), &u, metav1.CreateOptions{FieldValidation: "Strict"})
		return err
	}
	settings := func(text string) map[string]any { // "a: b, c: 'd'"
		all := make(map[string]any)
		for part := range strings.SplitSeq(text, ", ") {
			if name, value, ok := strings.Cut(part, ": "); ok {
				all[name] = strings.Trim(value, `'"`)
			}
		}
		return all
	}
	rule := func(from, to string) error {
		return create("Rule", "rules", map[string]any{"source": "a", "sourceResource": settings(from), "target": "b", "targetResource": settings(to)})
	}
	for _, good := range [][2]string{
		{"path: /a", "topic: test"}, {"path: a/b/", "topic: a/b, query: topic"}, {"path: '/lamp/{id}/x'", "path: /v1/lamp"}, {"path: a", "path: /"}, {"path: a", `path: ""`},
		{"topic: test, node_name: edge-7", "resource: 'http://erp/in?x=1'"}, {"topic: /a/+/b/#, node_name: e", "resource: 'https://erp:8443'"}, {"topic: '#', node_name: e", "resource: 'http://erp'"},
		{"topic: $hw/events/upload/#, node_name: e", "resource: 'http://erp'"}, {"target_url: 'http://erp/orders', node_name: e", "resource: 'http://erp'"},
	} {
		if err := rule(good[0], good[1]); err != nil {
			t.Errorf("%s to %s: %v", good[0], good[1], err)
		}
	}
	for _, bad := range [][3]string{
		{"", "topic: a", "needs one of path"}, {"path: a, topic: b, node_name: e", "resource: 'http://x'", "needs one of path"}, {"path: a, node_name: e", "topic: a", "node_name"},
		{"topic: a", "resource: 'http://x'", "node_name"}, {"topic: a, node_name: E_1", "resource: 'http://x'", "node_name"}, {"path: a?b", "topic: a", "path has"}, {"path: a//b", "topic: a", "path has"},
		{"path: 'x{y}'", "topic: a", "path has"}, {"path: a", "resource: 'http://x'", "needs targetResource"}, {"path: a", "topic: a, path: b", "needs targetResource"}, {"topic: a, node_name: e", "topic: b", "needs targetResource"},
		{"path: a", "topic: 'a/#'", "without wildcards"}, {"path: a", "topic: '$hw/events/x'", "without wildcards"}, {"path: a", "path: '/a?b'", "without query"}, {"path: a", "topic: a, query: x", "query is topic"},
		{"topic: a+, node_name: e", "resource: 'http://x'", "filter of MQTT"}, {"topic: 'a/#/b', node_name: e", "resource: 'http://x'", "filter of MQTT"}, {"topic: a, node_name: e", "resource: 'ftp://x'", "absolute URL"},
		{"topic: a, node_name: e", "resource: 'http://u:p@x/'", "absolute URL"}, {"topic: a, node_name: e", "resource: '/x'", "absolute URL"}, {"target_url: 'no url', node_name: e", "resource: 'http://x'", "target_url is a URL"},
		{"path: a, other: b", "topic: a", "sourceResource has"}, {"path: a", "topic: a, other: b", "targetResource has"},
	} {
		if err := rule(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), bad[2]) {
			t.Errorf("%s to %s: %v, want an error with %q", bad[0], bad[1], err, bad[2])
		}
	}
	for spec, want := range map[string]string{
		"{ruleEndpointType: rest}": "", "{ruleEndpointType: eventbus, properties: {}}": "", "{ruleEndpointType: servicebus, properties: {service_port: '65535', service_host: printer.lan}}": "",
		"{ruleEndpointType: rest, properties: {format: cloudevents}}": "", "{ruleEndpointType: ftp}": "Unsupported value", "{ruleEndpointType: servicebus, properties: {service_port: '65536'}}": "service_port",
		"{ruleEndpointType: servicebus, properties: {service_port: '0'}}": "service_port", "{ruleEndpointType: rest, properties: {service_port: '80'}}": "service_port", "{ruleEndpointType: rest, properties: {format: xml}}": "format",
		"{ruleEndpointType: servicebus, properties: {service_host: a/b}}": "service_host", "{ruleEndpointType: rest, properties: {x: z}}": "properties may be",
	} {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
			t.Fatal(spec, err)
		}
		if err := create("RuleEndpoint", "ruleendpoints", content); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", spec, err, want)
		}
	}
}
