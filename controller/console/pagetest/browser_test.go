package pagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long the browser has for one step. The machine may be very busy.
const patience = 60 * time.Second

// nodes is how many nodes the tests of size use: NODES, or 1,000.
func nodes(t *testing.T) int {
	t.Helper()
	text := os.Getenv("NODES")
	if text == "" {
		return 1000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("NODES: %v", err)
	}
	return n
}

// chromium starts a browser. Without one the test is skipped.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium: install it (apt-get install chromium) to test the page")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("ignore-certificate-errors", os.Getenv("CONSOLE_URL") != ""), chromedp.WSURLReadTimeout(patience))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		end()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// tab is a page in a browser window of its own, with a server of its own behind it.
type tab struct {
	t      *testing.T
	ctx    context.Context
	server *Server
	url    string

	mu      sync.Mutex
	trouble []string // what the browser's console says: errors, refused by policy
	outside []string // requests that went elsewhere
}

func open(browser context.Context, t *testing.T, cfg Config, width int) *tab {
	t.Helper()
	cfg.Page = os.DirFS("../page/dist")
	p := &tab{t: t, server: New(cfg)}
	server := httptest.NewServer(p.server)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	p.url = server.URL
	p.start(browser, width)
	return p
}

// start opens the window.
func (p *tab) start(browser context.Context, width int) {
	p.t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	p.t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		end()
	})
	p.ctx = ctx
	if err := chromedp.Listen(ctx, p.observe); err != nil {
		p.t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		p.t.Fatal(err)
	}
	p.size(width)
}

// observe keeps what should not happen.
func (p *tab) observe(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.trouble = append(p.trouble, exception(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			p.trouble = append(p.trouble, fmt.Sprintf("console.error %s", e.Args[0].Value))
		}
	case *log.EventEntryAdded:
		// That the API refused something is said by each test that makes it so.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			p.trouble = append(p.trouble, e.Entry.Text)
		}
	case *page.EventJavascriptDialogOpening:
		p.trouble = append(p.trouble, "dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, p.url+"/") && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			p.outside = append(p.outside, u)
		}
	}
}

// clean fails the test if the browser complained or asked another server.
func (p *tab) clean() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trouble) > 0 {
		p.t.Errorf("the browser complains: %q", p.trouble)
	}
	if len(p.outside) > 0 {
		p.t.Errorf("requests went to other servers: %q", p.outside)
	}
}

func exception(d *runtime.ExceptionDetails) string {
	if d.Exception != nil {
		return d.Text + " " + d.Exception.Description
	}
	return d.Text
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, end := context.WithTimeout(p.ctx, patience)
	defer end()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%v: the page shows %q", err, p.text())
	}
}

// text returns what the page shows, for messages.
func (p *tab) text() string {
	ctx, end := context.WithTimeout(p.ctx, 10*time.Second)
	defer end()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname+location.search+' '+document.body.innerText.slice(0, 600)`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (p *tab) size(width int) {
	p.t.Helper()
	height := map[int]int64{390: 844, 820: 1180, 1440: 900}[width]
	p.do(chromedp.EmulateViewport(int64(width), height))
}

func (p *tab) dark(yes bool) {
	p.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[yes]
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		p.t.Fatal(err)
	}
}

// open opens an address. On a machine that is very busy the driver can miss the end of a load: it
// then tries once more.
func (p *tab) open(path string) {
	p.t.Helper()
	var err error
	for range 2 {
		ctx, end := context.WithTimeout(p.ctx, patience/2)
		err = chromedp.Do(ctx, chromedp.Navigate(p.url+path))
		end()
		if err == nil {
			return
		}
	}
	p.t.Fatalf("open %s: %v: the page shows %q", path, err, p.text())
}

// until waits for a condition in JavaScript, also while one page takes the place of another.
func (p *tab) until(condition string) {
	p.t.Helper()
	ctx, end := context.WithTimeout(p.ctx, patience)
	defer end()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool]("!!("+condition+")", chromedp.WithPollingTimeout(patience)))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "context") {
			p.t.Fatalf("until %s: %v: the page shows %q", condition, err, p.text())
		}
	}
}

// see waits until the page shows a text.
func (p *tab) see(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// title waits for a page by its heading.
func (p *tab) title(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.querySelector('h1')?.textContent === %q && !document.querySelector('.loading')", text))
}

// at waits for an address.
func (p *tab) at(path string) {
	p.t.Helper()
	p.until(fmt.Sprintf("location.pathname + location.search === %q", path))
}

func eval[T any](p *tab, script string) T {
	p.t.Helper()
	ctx, end := context.WithTimeout(p.ctx, patience)
	defer end()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%v: the page shows %q", err, p.text())
	}
	return out
}

// click clicks with the mouse what has a text: a link, a button or an option of a label. It waits
// for a button that is disabled, as all buttons of a job are while the page asks for a change.
func (p *tab) click(text string) {
	p.t.Helper()
	p.do(chromedp.Click(fmt.Sprintf(`//*[self::a or self::button or self::label][normalize-space(.)=%q][not(@disabled)]`, text), chromedp.NodeVisible))
}

// button waits for a button by its text.
func (p *tab) button(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("[...document.querySelectorAll('button')].some(b => b.textContent === %q && !b.disabled)", text))
}

// press presses keys one after another: kb.Tab, kb.Enter or text.
func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, key := range keys {
		p.do(chromedp.KeyEvent(key))
	}
}

// tabTo presses Tab until what has the focus has this text.
func (p *tab) tabTo(text string) {
	p.t.Helper()
	var seen []string
	for range 80 {
		p.press(kb.Tab)
		now := eval[string](p, `(document.activeElement.textContent || document.activeElement.id).trim()`)
		if now == text {
			return
		}
		seen = append(seen, now)
	}
	p.t.Fatalf("Tab does not lead to %q, but to %q", text, seen)
}

// shiftTab presses Shift and Tab.
func (p *tab) shiftTab() {
	p.t.Helper()
	p.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(kb.ModifierShift)))
}

// screenshot writes a picture of the page, if pictures are wanted.
func (p *tab) screenshot(name string) {
	p.t.Helper()
	if os.Getenv("SCREENSHOTS") == "" {
		return
	}
	picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("..", "screenshots", name+".png"), picture, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// axe runs axe-core, on the first rows of tables, and fails the test for violations that are serious or critical.
func (p *tab) axe(source, where string) {
	p.t.Helper()
	if source == "" {
		return
	}
	p.do(chromedp.Evaluate[chromedp.Void](source))
	text := eval[string](p, `axe.run({include: document, exclude: ['tbody tr:nth-child(n+9)']}, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations
		.filter(v => ['serious', 'critical'].includes(v.impact))
		.map(v => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join(' | '))))`)
	var found []string
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		p.t.Fatal(err)
	}
	for _, f := range found {
		p.t.Errorf("axe, %s: %s", where, f)
	}
}
