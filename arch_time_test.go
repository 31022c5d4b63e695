package edgekit_test

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// realTime are the tests' functions that may wait for the machine's own clock, each
// with its reason: package.function, or package alone for all of them. One that is
// not needed fails the test.
var realTime = map[string]string{
	"hub/hubtest.Until": "the one that looks again and again, for a minute",

	"hub/hubbench":                             "measures a network, in real time",
	"hub/wsconn.BenchmarkRest":                 "measures a link at rest",
	"cmd/edgecore.TestColdStart":               "measures a program, how long its containers take to start",
	"controller/kubeletproxy.Talk":             "a container of a benchmark that says something ten times a second",
	"meta/badgerstore.run":                     "kills a program after a time that is a die's",
	"meta/badgerstore.TestPowerCut":            "cuts a disk's power after a time that is a die's",
	"controller/kubeletproxy.settled":          "waits until a kernel takes no more bytes, of which nothing tells",
	"controller.newWorld":                      "looks into a real API server",
	"controller/install/apiservertest.Start":   "starts a real API server",
	"controller/install.runJobs":               "cloudcores and nodes at a real API server",
	"cmd/internal/skew.until":                  "real programs and a real API server",
	"cmd/cloudcore.pause":                      "cloudcores in processes of their own and a real API server",
	"edged.burst":                              "a real container runtime, which only root has",
	"edged.stopWhenEmpty":                      "a real container runtime",
	"edged.waitNotReady":                       "a real container runtime",
	"edged.TestRealCgroupDriver":               "a real container runtime",
	"edged.watch":                              "a real container runtime",
	"edged.TestRealLimits":                     "a real container runtime",
	"edged/cgroup.TestTearDownOfABusyGroup":    "a real kernel takes its time to end a process",
	"edged/cgroup.tearDown":                    "a real systemd takes its time to remove a slice",
	"edged/crilog.isNotified":                  "a real kernel tells of changes",
	"edged/deviceplugin/deviceplugintest.live": "it looks whether the node made its socket anew, as plugins do that watch the folder",
	"edged/edgedtest.eventually":               "it looks again, for at most a minute, as hubtest.Until does",
	"device/devicetest.poll":                   "it looks again, for two minutes, at a proxy before a stranger's device",
	"device/inprocess.wait":                    "measures a mapper, in real time",
	"device/mqtt.TestExtras":                   "calls again until a mapper has subscribed, of which nothing tells",

	"bus/pipeline.pass":       "in bubbles: a method of the world that all tests of a Runner use in one",
	"bus/pipeline.Send":       "in bubbles: a method of an interface",
	"cmd/cloudcore.dribble":   "in bubbles: TestSlowPeers has a table of functions",
	"device.Subscribe":        "in bubbles: a method of an interface",
	"device.call":             "in bubbles: a method behind an interface",
	"device.TestDriverFaults": "in bubbles: a table of functions",
	"edged.pass":              "in bubbles: a field of a table",
	"hub.Read":                "in bubbles: a method of an interface",
	"hub.Dial":                "in bubbles: a method of an interface",
	"hub.SetDeadline":         "in bubbles: a method of an interface",
	"hub/httplink.Write":      "in bubbles: a method of an interface",
}

// TestTestsControlTime forbids waits in real time in tests and suites: time.Sleep, a
// bare <-time.After, a timer or ticker outside a synctest bubble. A function is in a
// bubble if all that use it are. A time.After beside other cases of a select is a
// bound; below ten seconds it is not far above what a busy machine takes.
func TestTestsControlTime(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range packages(t) {
		if domain(p.name()) == "examples" {
			continue
		}
		names := slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		if p.testOnly() {
			names = slices.Concat(names, p.GoFiles)
		}
		var files []parsed
		for _, name := range names {
			files = append(files, parse(t, filepath.Join(p.Dir, name)))
		}
		c := newClocks(files)
		for _, f := range files {
			for _, wait := range f.waits() {
				in := f.function(wait.Pos())
				key := p.name() + "." + in
				if c.inBubble(f, wait.Pos()) || c.safe[in] {
					continue
				}
				if i := slices.IndexFunc([]string{key, p.name()}, func(k string) bool { return realTime[k] != "" }); i >= 0 {
					used[[]string{key, p.name()}[i]] = true
					continue
				}
				t.Errorf("%s: %s waits in real time: put it in a synctest bubble, or wait for the event itself (hubtest.Until)", f.fset.Position(wait.Pos()), key)
			}
		}
	}
	for key := range realTime {
		if !used[key] {
			t.Errorf("realTime: %s does not wait", key)
		}
	}
}

// waits lists the calls by which the file waits for a clock.
func (f parsed) waits() []ast.Node {
	var bounds []ast.Node // of selects
	ast.Inspect(f.file, func(n ast.Node) bool {
		if c, ok := n.(*ast.CommClause); ok && c.Comm != nil {
			bounds = append(bounds, c.Comm)
		}
		return true
	})
	var all []ast.Node
	for _, name := range []string{"Sleep", "NewTimer", "NewTicker", "Tick"} {
		for _, call := range f.callsTo("time", name) {
			all = append(all, call)
		}
	}
	bare := make(map[ast.Expr]bool)
	ast.Inspect(f.file, func(n ast.Node) bool {
		if u, ok := n.(*ast.UnaryExpr); ok && u.Op == token.ARROW {
			bare[u.X] = !slices.ContainsFunc(bounds, func(b ast.Node) bool { return within(u, b) })
		}
		return true
	})
	for _, call := range f.callsTo("time", "After") {
		if d, ok := constant(call.Args[0]); bare[call] || ok && d < 10*time.Second {
			all = append(all, call)
		}
	}
	return all
}

// constant evaluates durations such as 3 * time.Second.
func constant(e ast.Expr) (time.Duration, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		d, err := time.ParseDuration(e.Value + "ns")
		return d, err == nil
	case *ast.SelectorExpr:
		d, ok := map[string]time.Duration{
			"Nanosecond": 1, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
		}[e.Sel.Name]
		return d, ok
	case *ast.BinaryExpr:
		x, ok := constant(e.X)
		y, ok2 := constant(e.Y)
		return x * y, ok && ok2 && e.Op == token.MUL
	}
	return 0, false
}

func within(n, outer ast.Node) bool { return outer.Pos() <= n.Pos() && n.End() <= outer.End() }

// function is the name of the function or method around pos.
func (f parsed) function(pos token.Pos) string {
	for _, d := range f.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Pos() <= pos && pos < fn.End() {
			return fn.Name.Name
		}
	}
	return ""
}

// clocks tells which code of a package's tests runs in synctest bubbles.
type clocks struct {
	bubbles map[*ast.File][]ast.Node
	safe    map[string]bool // functions that are used in bubbles only
}

func newClocks(files []parsed) clocks {
	c := clocks{make(map[*ast.File][]ast.Node), make(map[string]bool)}
	for _, f := range files {
		for _, call := range f.callsTo("synctest", "Test") {
			c.bubbles[f.file] = append(c.bubbles[f.file], call)
		}
	}
	makers := c.makers(files)
	for _, f := range files {
		ast.Inspect(f.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !makers[called(call)] {
				return true
			}
			for _, arg := range call.Args {
				if lit, ok := arg.(*ast.FuncLit); ok {
					c.bubbles[f.file] = append(c.bubbles[f.file], lit)
				}
			}
			return true
		})
	}
	c.findSafe(files)
	return c
}

func (c clocks) inBubble(f parsed, pos token.Pos) bool {
	return slices.ContainsFunc(c.bubbles[f.file], func(b ast.Node) bool { return b.Pos() <= pos && pos < b.End() })
}

func called(call *ast.CallExpr) string {
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		return fn.Name
	case *ast.SelectorExpr:
		return fn.Sel.Name
	}
	return ""
}

// makers are the functions that call a function which they are given in a bubble
// and nowhere else.
func (c clocks) makers(files []parsed) map[string]bool {
	all := make(map[string]bool)
	for _, f := range files {
		for _, d := range f.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			for _, field := range fn.Type.Params.List {
				if _, is := field.Type.(*ast.FuncType); !is || len(field.Names) != 1 {
					continue
				}
				uses, inside := 0, 0
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok && id.Name == field.Names[0].Name {
						uses++
						if c.inBubble(f, id.Pos()) {
							inside++
						}
					}
					return true
				})
				all[fn.Name.Name] = uses > 0 && uses == inside
			}
		}
	}
	return all
}

// findSafe begins with all functions that are used, and takes away those with a use
// outside a bubble in a function that is not safe, until there are no more. Methods
// of one name count as one.
func (c clocks) findSafe(files []parsed) {
	for _, f := range files {
		for _, d := range f.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				c.safe[fn.Name.Name] = true
			}
		}
	}
	uses := make(map[string]map[string]bool) // by name, the functions that use it outside a bubble
	known := make(map[string]bool)           // those that are used at all
	for _, f := range files {
		ast.Inspect(f.file, func(n ast.Node) bool {
			if d, ok := n.(*ast.FuncDecl); ok && d.Body != nil {
				ast.Inspect(d.Body, func(n ast.Node) bool { return c.use(f, d.Name.Name, n, uses, known) })
				return false
			}
			return c.use(f, "", n, uses, known)
		})
	}
	for name := range c.safe {
		isTest := slices.ContainsFunc([]string{"Test", "Benchmark", "Fuzz", "Example"}, func(p string) bool { return strings.HasPrefix(name, p) })
		c.safe[name] = known[name] && !isTest
	}
	for again := true; again; {
		again = false
		for name, by := range uses {
			for user := range by {
				if c.safe[name] && !c.safe[user] {
					c.safe[name], again = false, true
				}
			}
		}
	}
}

// use notes that n, in the function by, names another one.
func (c clocks) use(f parsed, by string, n ast.Node, uses map[string]map[string]bool, known map[string]bool) bool {
	id, ok := n.(*ast.Ident)
	if _, ours := c.safe[nameOf(id)]; !ok || !ours {
		return true
	}
	known[id.Name] = true
	if !c.inBubble(f, id.Pos()) {
		if uses[id.Name] == nil {
			uses[id.Name] = make(map[string]bool)
		}
		uses[id.Name][by] = true
	}
	return true
}

func nameOf(id *ast.Ident) string {
	if id == nil {
		return ""
	}
	return id.Name
}

// TestWaitsAreFound has the law of waits see each form, and spare what is in bubbles.
func TestWaitsAreFound(t *testing.T) {
	const source = `package p
func TestBare(t *testing.T)   { <-time.After(time.Hour) } // wait
func TestSleep(t *testing.T)  { time.Sleep(1) } // wait
func TestTicker(t *testing.T) { tick := time.NewTicker(1); <-tick.C } // wait
func TestBounds(t *testing.T) {
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
	select {
	case <-done:
	case <-time.After(9 * time.Second): // wait
	}
	late := time.After(30 * time.Second)
	soon := time.After(time.Second) // wait
}
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { time.Sleep(1); inBubbles() })
	made(t, func() { <-time.After(1) })
	unmade(t, func() { <-time.After(1) }) // wait
}
func inBubbles() { <-time.After(1); deeper() }
func deeper()    { time.Sleep(1) }
func both()      { time.Sleep(1) } // wait
func TestBoth(t *testing.T) { both(); synctest.Test(t, func(t *testing.T) { both() }) }
func made(t *testing.T, f func())   { synctest.Test(t, func(t *testing.T) { f() }) }
func unmade(t *testing.T, f func()) { f(); synctest.Test(t, func(t *testing.T) { f() }) }
`
	name := filepath.Join(t.TempDir(), "p_test.go")
	if err := os.WriteFile(name, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	f := parse(t, name)
	c := newClocks([]parsed{f})
	var got, want []int
	for i, line := range strings.Split(source, "\n") {
		if strings.HasSuffix(line, "// wait") {
			want = append(want, i+1)
		}
	}
	for _, wait := range f.waits() {
		if !c.inBubble(f, wait.Pos()) && !c.safe[f.function(wait.Pos())] {
			got = append(got, f.line(wait.Pos()))
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("waits in lines %v, want %v", got, want)
	}
}

// TestStartsAreFound has the law of leak checks see both ways to start a goroutine.
func TestStartsAreFound(t *testing.T) {
	for body, want := range map[string]bool{"go f()": true, "g.Go(f)": true, "wg.Go(func() {})": true, "f()": false, "Go(f)": false} {
		name := filepath.Join(t.TempDir(), "p.go")
		if err := os.WriteFile(name, []byte("package p\nfunc F() { "+body+" }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if parse(t, name).starts() != want {
			t.Errorf("%s starts a goroutine: %v", body, !want)
		}
	}
}
