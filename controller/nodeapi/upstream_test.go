package nodeapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is a small API server: JSON objects of any kind, lists with limit and continue,
// watches from a version, conflicts, and a Status for all that goes wrong. It knows users by
// their tokens' subject and refuses what is in denied.
type upstream struct {
	*httptest.Server

	mu       sync.Mutex
	changed  *sync.Cond
	version  int
	least    int                       // watches from versions below get 410
	objects  map[string]map[string]any // by path
	events   []upstreamEvent
	kinds    map[string]string // path of the resource without namespace, to its kind
	denied   map[string]bool   // "user resource"
	requests []string          // "user METHOD path?query"
	headers  []http.Header
	closing  bool
}

type upstreamEvent struct {
	kind    string
	path    string
	version int
	object  map[string]any
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{version: 100, objects: map[string]map[string]any{}, denied: map[string]bool{}, kinds: map[string]string{
		"/api/v1/pods": "Pod", "/api/v1/nodes": "Node", "/api/v1/configmaps": "ConfigMap", "/api/v1/services": "Service", "/api/v1/secrets": "Secret",
		"/api/v1/events": "Event", "/api/v1/endpoints": "Endpoints", "/apis/apps/v1/deployments": "Deployment", "/apis/discovery.k8s.io/v1/endpointslices": "EndpointSlice",
		"/apis/coordination.k8s.io/v1/leases": "Lease", "/apis/example.com/v1/widgets": "Widget",
		"/apis/authentication.k8s.io/v1/tokenreviews": "TokenReview", "/apis/authorization.k8s.io/v1/subjectaccessreviews": "SubjectAccessReview",
	}}
	u.changed = sync.NewCond(&u.mu)
	u.Server = httptest.NewServer(u)
	t.Cleanup(func() {
		u.mu.Lock()
		u.closing = true
		u.changed.Broadcast()
		u.mu.Unlock()
		u.Close()
	})
	return u
}

// put stores an object as another client would.
func (u *upstream) put(resource, namespace, name string, fields map[string]any) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.putLocked(resource, namespace, name, fields)
}

func (u *upstream) putLocked(resource, namespace, name string, fields map[string]any) int {
	path := resource + "|" + namespace + "|" + name
	u.version++
	obj := map[string]any{}
	for k, v := range fields {
		obj[k] = v
	}
	m := map[string]any{}
	if given, ok := obj["metadata"].(map[string]any); ok {
		for k, v := range given {
			m[k] = v
		}
	}
	m["name"], m["resourceVersion"] = name, strconv.Itoa(u.version)
	if namespace != "" {
		m["namespace"] = namespace
	}
	if m["uid"] == nil {
		m["uid"] = "uid-" + name
	}
	obj["metadata"], obj["kind"], obj["apiVersion"] = m, u.kinds[resource], groupVersion(resource)
	kind := "ADDED"
	if u.objects[path] != nil {
		kind = "MODIFIED"
	}
	u.objects[path] = obj
	u.events = append(u.events, upstreamEvent{kind, path, u.version, obj})
	u.changed.Broadcast()
	return u.version
}

func (u *upstream) drop(resource, namespace, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	path := resource + "|" + namespace + "|" + name
	u.version++
	u.events = append(u.events, upstreamEvent{"DELETED", path, u.version, u.objects[path]})
	delete(u.objects, path)
	u.changed.Broadcast()
}

// compact forgets the events up to now.
func (u *upstream) compact() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.least = u.version
}

// deny refuses a user all access to a resource.
func (u *upstream) deny(user, resource string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.denied[user+" "+resource] = true
}

// asked returns the requests with a part in common.
func (u *upstream) asked(part string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []string
	for _, r := range u.requests {
		if strings.Contains(r, part) {
			all = append(all, r)
		}
	}
	return all
}

func groupVersion(resource string) string {
	parts := strings.Split(strings.Trim(resource, "/"), "/")
	return strings.Join(parts[1:len(parts)-1], "/")
}

func tokenSubject(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Sub string `json:"sub"`
		Exp int64  `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp < time.Now().Unix() {
		return ""
	}
	return claims.Sub
}

func status(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"by the API server"}`, reason, code)
}

// ServeHTTP answers one request.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who := tokenSubject(r)
	if as := r.Header.Get("Impersonate-User"); as != "" {
		who += " as " + as
	}
	u.mu.Lock()
	u.requests = append(u.requests, who+" "+r.Method+" "+r.URL.RequestURI())
	u.headers = append(u.headers, r.Header.Clone())
	u.mu.Unlock()
	if who == "" {
		status(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	if strings.Contains(who, " as ") {
		status(w, http.StatusForbidden, "Forbidden") // it has no right to impersonate
		return
	}
	if r.URL.Path == "/metrics" || r.URL.Path == "/version" || r.URL.Path == "/apis" || r.URL.Path == "/api" {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"Whole","path":%q,"gitVersion":"v1.37.2"}`, r.URL.Path)
		return
	}
	if r.Header.Get("Upgrade") != "" {
		echoUpgraded(w)
		return
	}
	resource, namespace, name := u.find(r.URL.Path)
	if resource == "" {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	u.mu.Lock()
	denied := u.denied[who+" "+resource]
	u.mu.Unlock()
	switch {
	case denied:
		status(w, http.StatusForbidden, "Forbidden")
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "" && r.URL.Query().Get("watch") != "0":
		u.watch(w, r, resource, namespace)
	case r.Method == http.MethodGet && name == "":
		u.list(w, r, resource, namespace)
	case r.Method == http.MethodGet:
		u.get(w, resource, namespace, name)
	default:
		u.write(w, r, resource, namespace, name)
	}
}

// echoUpgraded sends back what comes on an upgraded connection.
func echoUpgraded(w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
	_ = rw.Flush()
	_, _ = io.Copy(conn, rw)
}

// find splits a path into the resource, the namespace and the name.
func (u *upstream) find(p string) (resource, namespace, name string) {
	if before, after, ok := strings.Cut(p, "/namespaces/"); ok {
		ns, rest, more := strings.Cut(after, "/")
		if more {
			p, namespace = before+"/"+rest, ns
		}
	}
	for r := range u.kinds {
		if p == r {
			return r, namespace, ""
		}
		if rest, ok := strings.CutPrefix(p, r+"/"); ok {
			name, _, _ = strings.Cut(rest, "/")
			return r, namespace, name
		}
	}
	return "", "", ""
}

func within(path, resource, namespace string) bool {
	prefix := resource + "|"
	if namespace != "" {
		prefix += namespace + "|"
	}
	return strings.HasPrefix(path, prefix)
}

func (u *upstream) get(w http.ResponseWriter, resource, namespace, name string) {
	u.mu.Lock()
	obj := u.objects[resource+"|"+namespace+"|"+name]
	u.mu.Unlock()
	if obj == nil {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(obj)
}

func (u *upstream) list(w http.ResponseWriter, r *http.Request, resource, namespace string) {
	if from := r.URL.Query().Get("resourceVersion"); from != "" {
		if n, err := strconv.Atoi(from); err != nil || n > 1_000_000 {
			status(w, http.StatusGatewayTimeout, "Timeout") // a version that it does not have
			return
		}
	}
	u.mu.Lock()
	var paths []string
	for path := range u.objects {
		if within(path, resource, namespace) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	start, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Query().Get("continue"), "c"))
	list := map[string]any{"version": strconv.Itoa(u.version)}
	items := []any{}
	next := ""
	for i, path := range paths {
		if i < start {
			continue
		}
		if limit > 0 && len(items) == limit {
			next = "c" + strconv.Itoa(i)
			break
		}
		items = append(items, u.objects[path])
	}
	list = map[string]any{"kind": u.kinds[resource] + "List", "apiVersion": groupVersion(resource), "items": items,
		"metadata": map[string]any{"resourceVersion": list["version"], "continue": next}}
	text, _ := json.Marshal(list)
	u.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// watch sends what changed after a version, and the present objects first if there is none.
func (u *upstream) watch(w http.ResponseWriter, r *http.Request, resource, namespace string) {
	text := r.URL.Query().Get("resourceVersion")
	after, _ := strconv.Atoi(text)
	u.mu.Lock()
	defer u.mu.Unlock()
	if text != "" && text != "0" && after < u.least {
		u.mu.Unlock()
		status(w, http.StatusGone, "Expired")
		u.mu.Lock()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	send := func(kind string, obj any) bool {
		line, _ := json.Marshal(map[string]any{"type": kind, "object": obj})
		u.mu.Unlock()
		defer u.mu.Lock()
		_, err := w.Write(append(line, '\n'))
		return err == nil && control.Flush() == nil
	}
	if text == "" || text == "0" || r.URL.Query().Get("sendInitialEvents") == "true" {
		after = u.version
		for path, obj := range u.objects {
			if within(path, resource, namespace) && !send("ADDED", obj) {
				return
			}
		}
		if r.URL.Query().Get("sendInitialEvents") == "true" {
			send("BOOKMARK", map[string]any{"kind": u.kinds[resource], "apiVersion": groupVersion(resource), "metadata": map[string]any{
				"resourceVersion": strconv.Itoa(after), "annotations": map[string]any{"k8s.io/initial-events-end": "true"}}})
		}
	}
	_ = control.Flush()
	done := r.Context().Done()
	go func() { // it ends with the request
		<-done
		u.mu.Lock()
		defer u.mu.Unlock()
		u.changed.Broadcast()
	}()
	for r.Context().Err() == nil && !u.closing {
		sent := false
		for _, e := range slices.Clone(u.events) {
			if e.version > after && within(e.path, resource, namespace) {
				if !send(e.kind, e.object) {
					return
				}
				sent = true
			}
			after = max(after, e.version)
		}
		if !sent && r.Context().Err() == nil && !u.closing {
			u.changed.Wait()
		}
	}
}

func (u *upstream) write(w http.ResponseWriter, r *http.Request, resource, namespace, name string) {
	var obj map[string]any
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &obj) != nil && len(body) > 0 {
		status(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType")
		return
	}
	m, _ := obj["metadata"].(map[string]any)
	if name == "" && m != nil {
		name, _ = m["name"].(string)
	}
	path := resource + "|" + namespace + "|" + name
	code := http.StatusOK
	u.mu.Lock()
	have := u.objects[path]
	switch {
	case strings.HasSuffix(resource, "reviews"):
		obj["status"] = map[string]any{"authenticated": true, "allowed": true}
		have, code = obj, http.StatusCreated
	case r.Method == http.MethodDelete && have != nil:
		u.mu.Unlock()
		u.drop(resource, namespace, name)
		u.mu.Lock()
	case r.Method == http.MethodPost && have != nil:
		code, have = http.StatusConflict, nil
	case r.Method != http.MethodPost && have == nil && r.Header.Get("Content-Type") != "application/apply-patch+yaml":
		code = http.StatusNotFound
	case m != nil && m["resourceVersion"] != nil && have != nil && m["resourceVersion"] != have["metadata"].(map[string]any)["resourceVersion"]:
		code, have = http.StatusConflict, nil
	default:
		u.putLocked(resource, namespace, name, obj)
		if have = u.objects[path]; r.Method == http.MethodPost {
			code = http.StatusCreated
		}
	}
	text, _ := json.Marshal(have)
	u.mu.Unlock()
	if have == nil {
		status(w, code, map[int]string{404: "NotFound", 409: "Conflict"}[code])
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text)
}
