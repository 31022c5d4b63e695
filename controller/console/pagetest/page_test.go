package pagetest

import (
	"fmt"
	"slices"
	"testing"
)

// pages are all pages: their address, their heading, and a text that is there when all is loaded.
var pages = []struct{ name, path, title, text string }{ //nolint:gochecknoglobals // a table
	{"fleet", "/console/", "Fleet", "kyiv-north"},
	{"nodes", "/console/nodes", "Nodes", "edge-000049"},
	{"node", "/console/nodes/edge-000042", "edge-000042", "camera-gateway-x8k2p"},
	{"node-devices", "/console/nodes/edge-000042?view=devices", "edge-000042", "thermometer-000042"},
	{"node-events", "/console/nodes/edge-000042?view=events", "edge-000042", "Unhealthy"},
	{"node-conditions", "/console/nodes/edge-000042?view=conditions", "edge-000042", "DiskPressure"},
	{"node-labels", "/console/nodes/edge-000042?view=labels", "edge-000042", "kubernetes.io/arch"},
	{"devices", "/console/devices", "Devices", "conveyor-000000"},
	{"device", "/console/devices/plant/thermometer-000042", "thermometer-000042", "temperature"},
	{"jobs", "/console/jobs", "Jobs", "log-level-info"},
	{"job", "/console/jobs/NodeUpgradeJob/upgrade-to-0.9.2", "upgrade-to-0.9.2", "Cancel job"},
	{"log", "/console/pods/plant/modbus-mapper-0/log?container=main&containers=main,sidecar&node=edge-000042", "modbus-mapper-0", "published topic"},
}

// shown are the screenshots, of the README.
var shown = []string{"fleet-1440", "nodes-1440", "node-1440", "device-820", "job-1440", "log-1440", "fleet-390", "node-390"} //nolint:gochecknoglobals // a table

// TestPages opens every page by its address, at three widths, light and dark: all of it fits the
// width, axe-core finds nothing serious, and the browser does not complain.
func TestPages(t *testing.T) {
	browser := chromium(t)
	axe := axeSource(t)
	for _, width := range []int{1440, 820, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			p := open(browser, t, Config{LoggedIn: true}, width)
			for _, page := range pages {
				dark := width == 820
				p.dark(dark)
				p.open(page.path)
				p.title(page.title)
				p.see(page.text)
				if page.name == "device" {
					p.until("parseInt(document.querySelector('.chart')?.ariaLabel.split(': ')[1]) > 20")
				}
				if wide := eval[int](p, "document.scrollingElement.scrollWidth - innerWidth"); wide > 0 {
					t.Errorf("%s is %d pixels wider than the window", page.name, wide)
				}
				if width != 390 || page.name == "fleet" { // the colours of a phone are those of a desk
					p.axe(axe, page.name)
				}
				if name := fmt.Sprintf("%s-%d", page.name, width); slices.Contains(shown, name) {
					p.screenshot(name)
				}
			}
			p.clean()
		})
	}
	t.Run("login", func(t *testing.T) {
		p := open(browser, t, Config{}, 1440)
		p.open("/console/jobs")
		p.title("Log in")
		p.axe(axe, "login")
		p.clean()
	})
	t.Run("dialog", func(t *testing.T) {
		p := open(browser, t, Config{LoggedIn: true}, 1440)
		p.open("/console/jobs/NodeUpgradeJob/upgrade-to-0.9.2")
		p.see("Cancel job")
		p.click("Cancel job")
		p.until("document.querySelector('dialog[open]')")
		p.axe(axe, "dialog")
		p.clean()
	})
}
