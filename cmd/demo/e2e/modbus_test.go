package e2e

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed modbus.yaml
var modbusYAML string

// TestModbus is the life of a Modbus device, without the rest: make e2e-modbus.
func TestModbus(t *testing.T) {
	if os.Getenv("MODBUS") == "" {
		t.Skip("MODBUS is not set")
	}
	s := deviceSite(t)
	modbusDevice(t, s)
}

// plant is a Modbus device on the node's floor, its mapper, and how the cloud sees it.
type plant struct {
	t *testing.T
	s *site.Site
	k kube
	// more are edgecore's further arguments, and broker is where the mapper connects.
	more   []string
	broker string
}

const (
	simulatorAddress = "127.0.0.1:5020" // in the node's network, as modbus.yaml has it
	outsideBroker    = "127.0.0.1:1883"
	boilerDevice     = "boiler-1"
	targetRegister   = 0
	strokesRegister  = 1
)

// modbusDevice has a device follow the cloud, the cloud follow the device, both after a cut,
// and all parts killed in any order.
func modbusDevice(t *testing.T, s *site.Site) {
	p := newPlant(t, s)
	ctx := within(t, 15*time.Minute)
	p.build(ctx)
	p.k.run(ctx, modbusYAML, "apply", "-f", "-")
	defer p.k.run(ctx, modbusYAML, "delete", "--ignore-not-found", "-f", "-")
	defer p.kill("modbus-mapper", "modbus-simulator")
	p.start("modbus-mapper") // before its device answers
	p.start("modbus-simulator")
	for _, part := range []struct {
		name string
		run  func(*plant)
	}{
		{"the register follows the desired value", (*plant).follow},
		{"a change of the register shows", (*plant).show},
		{"both sides change while the node is cut off", (*plant).cutOff},
		{"killed in any order", func(p *plant) { p.killAll([]string{"modbus-mapper", "edgecore", "modbus-simulator"}) }},
		{"killed in any order, with a broker outside", (*plant).outside},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(newPlant(t, s)) }) {
			return
		}
	}
}

// newPlant makes the view of one test on the plant.
func newPlant(t *testing.T, s *site.Site) *plant {
	return &plant{t: t, s: s, k: newKube(t, s), broker: site.Broker}
}

// follow has the register follow the Device.
func (p *plant) follow() {
	p.waitRegister(targetRegister, 45)
	p.desire(46)
	p.waitRegister(targetRegister, 46)
	p.waitReported("target", 46)
}

// show has kubectl show the register.
func (p *plant) show() {
	p.setRegister(strokesRegister, 7)
	p.waitReported("strokes", 7)
	ctx := within(p.t, 2*time.Minute)
	p.k.until(ctx, func() error {
		line := p.k.run(ctx, "", "get", "device", boilerDevice, "-n", tour.Namespace, "-o", "wide", "--no-headers")
		if !strings.Contains(line, "strokes=7") || !strings.Contains(line, "online") {
			return fmt.Errorf("kubectl get device -o wide shows %q, want online and strokes=7", line)
		}
		return nil
	})
}

// cutOff changes the desired value in the cloud and the registers on the floor while the link
// is cut. Then the cloud's desired value is the register's, and the floor's reading is the
// cloud's: a desired value belongs to who may set it, a read-only one to the device.
func (p *plant) cutOff() {
	ctx := within(p.t, 5*time.Minute)
	if err := p.s.Network().Cut(ctx); err != nil {
		p.t.Fatal(err)
	}
	mended := false
	defer func() {
		if !mended {
			_ = p.s.Network().Mend(context.WithoutCancel(ctx))
		}
	}()
	p.desire(60)
	p.setRegister(strokesRegister, 8)
	p.setRegister(targetRegister, 33) // by hand, at the device
	p.k.until(ctx, func() error {     // the node sees the floor
		twins, err := p.s.Twins(ctx, tour.Namespace, boilerDevice)
		if err != nil {
			return err
		}
		if v := twins["strokes"].Actual; v == nil || v.Value != "8" {
			return fmt.Errorf("the node's twin has strokes %+v, want 8", v)
		}
		if v := twins["target"].Expected; v == nil || v.Value != "46" {
			return fmt.Errorf("the node's twin wants target %+v, want 46: the cloud's change cannot have come", v)
		}
		return nil
	})
	if err := p.s.Network().Mend(ctx); err != nil {
		p.t.Fatal(err)
	}
	mended = true
	p.waitRegister(targetRegister, 60)
	p.waitReported("target", 60)
	p.waitReported("strokes", 8)
	if got, err := p.register(ctx, strokesRegister); err != nil || got != 8 {
		p.t.Errorf("the floor's register is %d, %v; want 8", got, err)
	}
}

// killAll kills the programs in each order and starts them in another. Each time the register
// and the cloud agree again, without anybody's help. A simulator that comes back has zeros.
func (p *plant) killAll(programs []string) {
	p.t.Helper()
	orders := permutations(programs)
	for n, order := range orders {
		want := 100 + n
		starting := slices.Clone(orders[(n*5+1)%len(orders)]) // some other order
		p.t.Logf("kill %v, change the desired value to %d, start %v", order, want, starting)
		p.kill(order...)
		p.desire(want)
		for _, name := range starting {
			p.start(name)
		}
		p.waitRegister(targetRegister, uint16(want))
		p.setRegister(strokesRegister, uint16(want))
		p.waitReported("target", want)
		p.waitReported("strokes", want)
	}
	if _, err := p.s.WaitNode(p.t.Context(), tour.Node, corev1.ConditionTrue, 2*time.Minute); err != nil {
		p.t.Fatal(err)
	}
}

// outside is killAll with mosquitto as the node's broker, which is killed too.
func (p *plant) outside() {
	t := p.t
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Skip("mosquitto is not installed: apt-get install mosquitto")
	}
	ctx := within(t, 10*time.Minute)
	p.kill("modbus-mapper")
	if err := p.s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	p.more, p.broker = []string{"--mqtt-mode", "external", "--mqtt-broker", "tcp://" + outsideBroker}, outsideBroker
	for _, name := range []string{"mosquitto", "edgecore", "modbus-mapper"} {
		p.start(name)
	}
	defer func() { // the node as it was
		p.kill("modbus-mapper", "edgecore", "mosquitto")
		p.more, p.broker = nil, site.Broker
		p.start("edgecore")
		p.start("modbus-mapper")
	}()
	p.killAll([]string{"mosquitto", "edgecore", "modbus-mapper"})
	p.killAll([]string{"mosquitto", "modbus-simulator"})
}

// permutations are all orders of the names.
func permutations(names []string) [][]string {
	if len(names) <= 1 {
		return [][]string{names}
	}
	var all [][]string
	for n := range names {
		rest := slices.Concat(names[:n], names[n+1:])
		for _, order := range permutations(rest) {
			all = append(all, append([]string{names[n]}, order...))
		}
	}
	return all
}

// build builds mapper and simulator from the module of the mappers.
func (p *plant) build(ctx context.Context) {
	p.t.Helper()
	for name, pkg := range map[string]string{"modbus-mapper": "./modbus", "modbus-simulator": "./modbus/simulator"} {
		target := gobuild.Target{Module: p.s.Repo() + "/examples/mappers", Package: pkg, Output: p.s.Program(name), Always: true}
		if err := gobuild.Build(ctx, testWriter{p.t}, target); err != nil {
			p.t.Fatal(err)
		}
	}
}

// start starts a program in the node's network. It does not wait.
func (p *plant) start(name string) {
	p.t.Helper()
	spec := process.Spec{Name: name, Path: p.s.Program(name), NetNS: p.s.Network().File}
	switch name {
	case "edgecore":
		if _, err := p.s.StartEdge(tour.Node, p.more...); err != nil {
			p.t.Fatal(err)
		}
		return
	case "modbus-mapper":
		spec.Args = []string{"--node", tour.Node, "--broker", "tcp://" + p.broker, "--timeout", "5s"}
	case "modbus-simulator":
		spec.Args = []string{"--listen", simulatorAddress}
	case "mosquitto":
		path, err := exec.LookPath("mosquitto")
		if err != nil {
			p.t.Fatal(err)
		}
		_, port, _ := strings.Cut(outsideBroker, ":")
		spec.Path, spec.Args = path, []string{"-p", port} // without a file it listens on loopback and takes anonymous clients
	}
	if _, err := p.s.Start(spec); err != nil {
		p.t.Fatal(err)
	}
}

// kill kills programs, one after the other, as a power cut would.
func (p *plant) kill(names ...string) {
	p.t.Helper()
	for _, name := range names {
		if err := p.s.Processes().Kill(context.WithoutCancel(p.t.Context()), name); err != nil {
			p.t.Fatal(err)
		}
	}
}

// desire sets the desired target as a user does.
func (p *plant) desire(value int) {
	p.t.Helper()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/properties/0/desired/value","value":"%d"}]`, value)
	p.k.run(p.t.Context(), "", "patch", "device", boilerDevice, "-n", tour.Namespace, "--type=json", "-p", patch)
}

// waitReported waits until DeviceStatus has a value of a property.
func (p *plant) waitReported(property string, want int) {
	p.t.Helper()
	p.k.until(within(p.t, 3*time.Minute), func() error {
		var status struct {
			Status struct {
				Twins []struct {
					PropertyName string
					Reported     struct{ Value string }
				}
			}
		}
		if err := p.s.Kube().Get(p.t.Context(), &status, "devicestatus", boilerDevice, "-n", tour.Namespace); err != nil {
			return err
		}
		for _, twin := range status.Status.Twins {
			if twin.PropertyName == property && twin.Reported.Value == strconv.Itoa(want) {
				return nil
			}
		}
		return fmt.Errorf("DeviceStatus has %+v, want %s=%d", status.Status.Twins, property, want)
	})
}

// waitRegister waits until a register of the device has a value.
func (p *plant) waitRegister(address, want uint16) {
	p.t.Helper()
	ctx := within(p.t, 3*time.Minute)
	p.k.until(ctx, func() error {
		got, err := p.register(ctx, address)
		if err == nil && got != want {
			err = fmt.Errorf("register %d is %d, want %d", address, got, want)
		}
		return err
	})
}

// register reads a holding register: function 3.
func (p *plant) register(ctx context.Context, address uint16) (uint16, error) {
	answer, err := p.modbus(ctx, 3, address, 1)
	if err != nil {
		return 0, err
	}
	if len(answer) != 3 {
		return 0, fmt.Errorf("the simulator answered %x to a read", answer)
	}
	return binary.BigEndian.Uint16(answer[1:]), nil
}

// setRegister changes a holding register, as by hand at the device: function 6.
func (p *plant) setRegister(address, value uint16) {
	p.t.Helper()
	ctx := within(p.t, time.Minute)
	p.k.until(ctx, func() error { // the simulator may just start
		_, err := p.modbus(ctx, 6, address, value)
		return err
	})
}

// modbus makes one request of Modbus TCP and returns the answer after its function code.
func (p *plant) modbus(ctx context.Context, function byte, address, value uint16) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := p.s.Network().DialContext(ctx, "tcp", simulatorAddress)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	request := []byte{0, 1, 0, 0, 0, 6, 1, function} // transaction, protocol, length, slave
	request = binary.BigEndian.AppendUint16(request, address)
	request = binary.BigEndian.AppendUint16(request, value)
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	header := make([]byte, 8)
	if _, err := io.ReadFull(conn, header); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(header[4:])) - 2
	if header[7] != function || length < 0 || length > 260 {
		return nil, fmt.Errorf("the simulator answered %x", header)
	}
	body := make([]byte, length)
	_, err = io.ReadFull(conn, body)
	return body, err
}
