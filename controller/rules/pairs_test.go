package rules_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"context"

	"github.com/edgekit/edgekit/bus"
	edgerules "github.com/edgekit/edgekit/bus/rules"
	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/rules"
)

const binary = "\x00\xff\xfe binary \r\n\x80"

// problemOf checks an answer of ours.
func problemOf(t *testing.T, got answer, status int, reason string) {
	t.Helper()
	var p struct {
		Status int
		Reason string
	}
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		t.Errorf("answer %d %q is no problem: %v", got.status, got.body, err)
	}
	if got.status != status || got.header.Get("Edgekit-Error") != reason || p.Status != status || p.Reason != reason ||
		got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %d, %v, %s; want %d and %s", got.status, got.header, got.body, status, reason)
	}
	if status == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// TestRestToServiceBus: one request is one call; status, headers and body pass unchanged.
func TestRestToServiceBus(t *testing.T) {
	c, service := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: service.port()}))
	c.put(t, "ruleendpoints", endpoint("down", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: closedPort(t)}))
	c.put(t, "ruleendpoints", endpoint("lan", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: "80", v1.PropertyHost: "printer.lan"}))
	c.put(t, "rules", newRule("lamp", "cloud", map[string]v1.Setting{"path": "/lamp"}, "floor", map[string]v1.Setting{"path": "/v1/lamp"}))
	c.put(t, "rules", newRule("down", "cloud", map[string]v1.Setting{"path": "down"}, "down", map[string]v1.Setting{"path": "/"}))
	c.put(t, "rules", newRule("lan", "cloud", map[string]v1.Setting{"path": "lan"}, "lan", map[string]v1.Setting{"path": "/"}))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.connected(t)
	at := cc.url + "/edge-7/plant"

	for _, status := range []int{200, 201, 204, 302, 404, 500, 503} {
		service.set(status, nil)
		service.forget()
		got := call(t, http.MethodPut, at+"/lamp/3?a=1;b&c=%2F", binary, bearer(alice), "X-Mine: yes", "Content-Type: application/x-lamp")
		want := fmt.Sprintf("answer %d", status)
		if status == 204 {
			want = ""
		}
		if got.status != status || got.body != want || got.header.Get("X-From") != "site" || got.header.Get("Edgekit-Error") != "" {
			t.Errorf("status %d: answered %d, %q, %v", status, got.status, got.body, got.header)
		}
		calls := service.requests()
		if len(calls) != 1 {
			t.Fatalf("status %d: %d calls", status, len(calls))
		}
		in := calls[0]
		if in.method != http.MethodPut || in.uri != "/v1/lamp/3?a=1;b&c=%2F" || in.body != binary || in.header.Get("X-Mine") != "yes" ||
			in.header.Get("Content-Type") != "application/x-lamp" || in.header.Get("Authorization") != "" {
			t.Errorf("the service got %q", in)
		}
	}
	service.set(200, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Edgekit-Error", "node-away") // an answer of the service does not pass for one of ours
		_, _ = io.WriteString(w, binary)
	})
	if got := call(t, http.MethodGet, at+"/lamp", "", bearer(alice)); got.body != binary || got.header.Get("Edgekit-Error") != "" {
		t.Errorf("answered %q, %v", got.body, got.header)
	}
	problemOf(t, call(t, http.MethodPost, at+"/down/x", "on", bearer(alice)), http.StatusBadGateway, "service-refused")
	problemOf(t, call(t, http.MethodGet, at+"/lan/", "", bearer(alice)), http.StatusForbidden, "host-not-allowed")
	problemOf(t, call(t, http.MethodGet, at+"/lampe", "", bearer(alice)), http.StatusNotFound, "no-rule")
	problemOf(t, call(t, http.MethodGet, at+"/x/lamp", "", bearer(alice)), http.StatusNotFound, "no-rule")
	problemOf(t, call(t, http.MethodGet, cc.url+"/edge-8/plant/lamp", "", bearer(alice)), http.StatusServiceUnavailable, "node-away")
	problemOf(t, call(t, http.MethodGet, cc.url+"/edge-7/plant", "", bearer(alice)), http.StatusBadRequest, "bad-request")
	problemOf(t, call(t, http.MethodPost, at+"/lamp", strings.Repeat("x", 12<<20+1), bearer(alice)), http.StatusRequestEntityTooLarge, "too-large")
}

// TestSlowService: a service that does not answer in time is status 504.
func TestSlowService(t *testing.T) {
	c, service := newCluster(t), newSite(t)
	service.set(0, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: service.port()}))
	c.put(t, "rules", newRule("lamp", "cloud", map[string]v1.Setting{"path": "/lamp"}, "floor", map[string]v1.Setting{"path": "/"}))
	cc := newCloud(t, c, func(cfg *rules.Config) { cfg.Timeout = 500 * time.Millisecond })
	n := newNode(t, cc, "edge-7", nil, nil)
	n.connected(t)
	problemOf(t, call(t, http.MethodGet, cc.url+"/edge-7/plant/lamp", "", bearer(alice)), http.StatusGatewayTimeout, "timeout")
}

// TestCallers: a caller needs credentials of the cluster and the right to create rules/proxy,
// unless the endpoint is open to all.
func TestCallers(t *testing.T) {
	c, service := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: service.port()}))
	c.put(t, "rules", newRule("lamp", "cloud", map[string]v1.Setting{"path": "/lamp"}, "floor", map[string]v1.Setting{"path": "/"}))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.connected(t)
	at := cc.url + "/edge-7/plant/lamp"
	problemOf(t, call(t, http.MethodGet, at, ""), http.StatusUnauthorized, "unauthenticated")
	problemOf(t, call(t, http.MethodGet, at, "", bearer("no.such.token")), http.StatusUnauthorized, "unauthenticated")
	problemOf(t, call(t, http.MethodGet, cc.url+"/edge-7/plant/other", ""), http.StatusUnauthorized, "unauthenticated")
	problemOf(t, call(t, http.MethodGet, at, "", bearer(bob)), http.StatusForbidden, "forbidden")
	if got := call(t, http.MethodGet, at, "", bearer(alice)); got.status != http.StatusOK {
		t.Errorf("answered %+v", got)
	}
	c.mu.Lock()
	asked := c.asked[0]
	c.mu.Unlock()
	if asked.Verb != "create" || asked.Group != v1.Group || asked.Resource != "rules" || asked.Subresource != "proxy" || asked.Namespace != "plant" || asked.Name != "lamp" {
		t.Errorf("asked for %+v", asked)
	}
	open := endpoint("cloud", v1.Rest, nil)
	open.Annotations = map[string]string{v1.AnnotationAnonymous: "true"}
	c.put(t, "ruleendpoints", open)
	eventually(t, func() error {
		if got := call(t, http.MethodGet, at, ""); got.status != http.StatusOK {
			return fmt.Errorf("answered %+v", got)
		}
		return nil
	})
}

// inbox collects what a subscriber of a node's broker gets.
type inbox struct {
	mu  sync.Mutex
	got []string
}

func subscribe(t *testing.T, b edgerules.Bus, filter string) *inbox {
	t.Helper()
	i := new(inbox)
	stop, err := b.Subscribe(filter, func(_ context.Context, m bus.Message) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.got = append(i.got, m.Topic+" "+string(m.Payload))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return i
}

func (i *inbox) wants(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func() error {
		i.mu.Lock()
		defer i.mu.Unlock()
		if !slices.Equal(i.got, want) {
			return fmt.Errorf("the subscriber got %q, want %q", i.got, want)
		}
		return nil
	})
}

// TestRestToEventBus: the answer comes when the node has stored the message; a message for a
// node that is away waits if the caller allows it.
func TestRestToEventBus(t *testing.T) {
	c := newCluster(t)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "rules", newRule("a", "cloud", map[string]v1.Setting{"path": "/a"}, "mqtt", map[string]v1.Setting{"topic": "test"}))
	c.put(t, "rules", newRule("q", "cloud", map[string]v1.Setting{"path": "/q"}, "mqtt", map[string]v1.Setting{"topic": "q", "query": "topic"}))
	c.put(t, "rules", newRule("t", "cloud", map[string]v1.Setting{"path": "/t/{x}"}, "mqtt", map[string]v1.Setting{"topic": "tt"}))
	c.put(t, "rules", newRule("bad", "cloud", map[string]v1.Setting{"path": "/bad"}, "mqtt", map[string]v1.Setting{"topic": "$hw/events/device/plant/lamp/twin/cloud_updated"}))
	cc := newCloud(t, c, nil)
	at := cc.url + "/edge-7/plant"
	problemOf(t, call(t, http.MethodPost, at+"/a", "x", bearer(alice)), http.StatusServiceUnavailable, "node-away")
	got := call(t, http.MethodPost, at+"/a/later", binary, bearer(alice), "Prefer: respond-async, wait=600")
	if got.status != http.StatusAccepted || got.header.Get("Preference-Applied") != "respond-async" {
		t.Fatalf("answered %+v", got)
	}
	if got := call(t, http.MethodPost, at+"/a/later", "2", bearer(alice), "Prefer: respond-async"); got.status != http.StatusAccepted {
		t.Fatalf("answered %+v", got)
	}
	problemOf(t, call(t, http.MethodPost, at+"/a", strings.Repeat("x", 256<<10+1), bearer(alice), "Prefer: respond-async"), http.StatusRequestEntityTooLarge, "too-large")
	var messages *inbox // before the node has a link: what waits for it comes at once
	n := newNode(t, cc, "edge-7", nil, func(cfg *edgerules.Config) { messages = subscribe(t, cfg.Bus, "#") })
	messages.wants(t, "test/later "+binary, "test/later 2")
	n.connected(t)
	for _, path := range []string{"/a/b/c?x=1", "/q/z?x=1", "/t/9/rest"} {
		if got := call(t, http.MethodPost, at+path, binary, bearer(alice)); got.status != http.StatusOK || strings.TrimSpace(got.body) != "message delivered" {
			t.Errorf("%s: answered %+v", path, got)
		}
	}
	messages.wants(t, "test/later "+binary, "test/later 2", "test/b/c "+binary, "q/z?x=1 "+binary, "tt/t/9/rest "+binary)
	problemOf(t, call(t, http.MethodPost, at+"/bad", "x", bearer(alice)), http.StatusNotFound, "no-rule")
	problemOf(t, call(t, http.MethodPost, at+"/a/x%2Fy", "x", bearer(alice)), http.StatusBadRequest, "bad-request")
	problemOf(t, call(t, http.MethodPost, at+"/a", strings.Repeat("x", 3<<20+1), bearer(alice)), http.StatusRequestEntityTooLarge, "too-large")
	eventually(t, func() error { // what waited is gone when the node has it
		list, err := c.dyn.Resource(v1.GroupVersion().WithResource("rulemessages")).List(t.Context(), listAll)
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d messages still wait", len(list.Items))
		}
		return err
	})
}

// TestEventBusToRest: messages reach the URL in order, each once, with their headers; an error
// is tried again, also over an outage of the link; then the next comes.
func TestEventBusToRest(t *testing.T) {
	c, target := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, map[string]v1.Setting{v1.PropertyFormat: "cloudevents"}))
	c.put(t, "rules", newRule("up", "mqtt", map[string]v1.Setting{"topic": "line/+/count", "node_name": "edge-7"}, "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL + "/in?k=v")}))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.holds(t, 1)
	n.mqttPublish(t, "plant/line/ü 1/count", binary)
	n.mqttPublish(t, "line/1/count", "of no rule: the namespace is missing")
	eventually(t, func() error { return equal(target.bodies(), []string{binary}) })
	in := target.requests()[0]
	id := in.header.Get("Edgekit-Event-Id")
	if in.method != http.MethodPost || in.uri != "/in?k=v" || in.header.Get("Edgekit-Node") != "edge-7" || in.header.Get("Edgekit-Rule") != "plant/up" ||
		in.header.Get("Edgekit-Topic") != "plant/line/%C3%BC%201/count" || id == "" || in.header.Get("Ce-Id") != id || in.header.Get("Ce-Specversion") != "1.0" ||
		in.header.Get("Ce-Source") != "/nodes/edge-7" || in.header.Get("Ce-Subject") != in.header.Get("Edgekit-Topic") || in.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("the target got %q", in)
	}
	target.forget()
	for i, status := range []int{404, 500, 302} {
		target.set(status, nil)
		n.mqttPublish(t, "plant/line/1/count", fmt.Sprint(i))
		eventually(t, func() error { // tried more than once, with the same id
			got := target.requests()
			if len(got) < 2 {
				return fmt.Errorf("%d tries", len(got))
			}
			for _, r := range got {
				if r.body != fmt.Sprint(i) || r.header.Get("Edgekit-Event-Id") != got[0].header.Get("Edgekit-Event-Id") {
					return fmt.Errorf("tries %q", got)
				}
			}
			return nil
		})
		target.set(201, nil)
		eventually(t, func() error { return waiting(n, 0) })
		target.forget()
	}
	// The link is lost for a while.
	cc.net.Refuse(true)
	cc.net.Cut("edge-7")
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("offline ", i))
		n.mqttPublish(t, "plant/line/1/count", want[i])
	}
	eventually(t, func() error { return waiting(n, 20) })
	cc.net.Refuse(false)
	eventually(t, func() error { return waiting(n, 0) })
	if err := equal(target.bodies(), want); err != nil {
		t.Error(err)
	}
}

func equal(got, want []string) error {
	if !slices.Equal(got, want) {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func waiting(n *node, want int) error {
	if s := n.Stats(); s.Waiting != want {
		return fmt.Errorf("%d messages wait, want %d", s.Waiting, want)
	}
	return nil
}

// TestServiceBusToRest: a program on the node calls a URL through the cloud, in KubeEdge's
// envelope and in the plain form.
func TestServiceBusToRest(t *testing.T) {
	c, target := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("local", v1.ServiceBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	from := func(url string) map[string]v1.Setting {
		return map[string]v1.Setting{"target_url": v1.Setting(url), "node_name": "edge-7"}
	}
	c.put(t, "rules", newRule("orders", "local", from("http://erp/orders"), "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL + "/orders")}))
	c.put(t, "rules", newRule("down", "local", from("http://erp/down"), "erp", map[string]v1.Setting{"resource": "http://127.0.0.1:" + closedPort(t) + "/"}))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.holds(t, 2)
	n.connected(t)
	eventually(t, func() error {
		if n.LocalAddr() == nil {
			return errors.New("nothing listens for programs on the node")
		}
		return nil
	})
	at := "http://" + n.LocalAddr().String()
	envelope := func(method, url, payload string) (code int, body string) {
		got := call(t, http.MethodPost, at+"/any/path", fmt.Sprintf(`{"method":%q,"targetURL":%q,"payload":%s}`, method, url, payload), "Content-Type: application/json")
		var out struct {
			Code int
			Body string
		}
		if err := json.Unmarshal([]byte(got.body), &out); err != nil || got.status != http.StatusOK {
			t.Fatalf("answered %+v, %v", got, err)
		}
		return out.Code, out.Body
	}
	for _, status := range []int{200, 201, 404, 500} {
		target.set(status, nil)
		target.forget()
		if code, body := envelope("PUT", "http://erp/orders", `{"n": 1}`); code != status || body != fmt.Sprintf("answer %d", status) {
			t.Errorf("status %d: the envelope says %d %q", status, code, body)
		}
		if got := target.requests(); len(got) != 1 || got[0].method != http.MethodPut || got[0].body != `{"n": 1}` || got[0].uri != "/orders" {
			t.Errorf("status %d: the target got %q", status, got)
		}
		target.forget()
		got := call(t, http.MethodDelete, at+"/v1/orders/7?x=1", binary, "X-Mine: yes")
		if got.status != status || got.body != fmt.Sprintf("answer %d", status) || got.header.Get("X-From") != "site" {
			t.Errorf("status %d: answered %+v", status, got)
		}
		if got := target.requests(); len(got) != 1 || got[0].method != http.MethodDelete || got[0].body != binary || got[0].uri != "/orders/7?x=1" || got[0].header.Get("X-Mine") != "yes" || got[0].header.Get("Edgekit-Node") != "edge-7" {
			t.Errorf("status %d: the target got %q", status, got)
		}
	}
	if code, _ := envelope("POST", "http://erp/unknown", `"x"`); code != http.StatusBadRequest {
		t.Errorf("a URL without a rule: %d", code)
	}
	if code, _ := envelope("POST", "http://erp/down", `"x"`); code != http.StatusBadGateway {
		t.Errorf("a target that is down: %d", code)
	}
	problemOf(t, call(t, http.MethodGet, at+"/v1/down/", ""), http.StatusBadGateway, "service-refused")
	problemOf(t, call(t, http.MethodGet, at+"/v1/unknown/", ""), http.StatusNotFound, "no-rule")
	problemOf(t, call(t, http.MethodGet, at+"/v1/orders/", "", "Host: evil.example"), http.StatusForbidden, "forbidden")
	problemOf(t, call(t, http.MethodGet, at+"/v1/orders/", "", "Origin: http://evil.example"), http.StatusForbidden, "forbidden")
	target.forget()
	problemOf(t, call(t, http.MethodGet, at+"/v1/orders/..%2f..%2fadmin", ""), http.StatusBadRequest, "bad-request")
	if got := target.requests(); len(got) != 0 {
		t.Errorf("a path that leads out of the rule's URL reaches the target: %q", got)
	}

	cc.net.Refuse(true)
	cc.net.Cut("edge-7")
	eventually(t, func() error {
		if n.link.Info().Connected {
			return errors.New("still connected")
		}
		return nil
	})
	problemOf(t, call(t, http.MethodGet, at+"/v1/orders/", ""), http.StatusServiceUnavailable, "node-away")
	problemOf(t, call(t, http.MethodGet, at+"/v1/orders/..%2fadmin", "", "Prefer: respond-async"), http.StatusBadRequest, "bad-request")
	target.set(200, nil)
	target.forget()
	if got := call(t, http.MethodPut, at+"/v1/orders/8?y", "later", "Prefer: respond-async"); got.status != http.StatusAccepted {
		t.Errorf("answered %+v", got)
	}
	cc.net.Refuse(false)
	eventually(t, func() error { return waiting(n, 0) })
	if got := target.requests(); len(got) != 1 || got[0].method != http.MethodPut || got[0].uri != "/orders/8?y" || got[0].body != "later" {
		t.Errorf("the target got %q", got)
	}
	// The port is closed with the last rule.
	c.remove(t, "rules", "orders")
	c.remove(t, "rules", "down")
	n.holds(t, 0)
	eventually(t, func() error {
		if n.LocalAddr() != nil {
			return errors.New("the port is still open")
		}
		return nil
	})
}

// TestCustomMessages: messages of the topics that KubeEdge sends to the cloud without a rule
// reach the program's consumer.
func TestCustomMessages(t *testing.T) {
	var mu sync.Mutex
	var got []string
	c := newCluster(t)
	cc := newCloud(t, c, func(cfg *rules.Config) { cfg.Messages = consumer(&mu, &got) })
	n := newNode(t, cc, "edge-7", nil, func(cfg *edgerules.Config) { cfg.CustomMessages = true })
	for _, topic := range []string{"SYS/dis/upload_records", "plant/user/x/y", "$hw/events/upload/z", "other/topic"} {
		n.mqttPublish(t, topic, binary)
	}
	eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		have := slices.Sorted(slices.Values(got))
		return equal(have, []string{"edge-7 $hw/events/upload/z " + binary, "edge-7 SYS/dis/upload_records " + binary, "edge-7 plant/user/x/y " + binary})
	})
	eventually(t, func() error { return waiting(n, 0) })
}
