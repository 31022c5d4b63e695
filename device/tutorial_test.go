package device_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// driver talks to one device. Its protocol is lines of text over TCP: "get PROPERTY" and
// "set PROPERTY VALUE", answered by "ok VALUE" or "error TEXT".
type driver struct {
	conn net.Conn
	in   *bufio.Reader
}

// Open connects to the address in the Device's spec.protocol.configData.
func (d *driver) Open(ctx context.Context, dev device.Instance) error {
	var config struct {
		Address string `json:"address"`
	}
	if err := dev.Spec.Protocol.Config.Decode(&config); err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", config.Address)
	if err == nil {
		d.conn, d.in = conn, bufio.NewReader(conn)
	}
	return err
}

func (d *driver) Read(ctx context.Context, property string) (string, error) {
	return d.ask(ctx, "get "+property)
}

func (d *driver) Write(ctx context.Context, property, value string) error {
	_, err := d.ask(ctx, "set "+property+" "+value)
	return err
}

func (d *driver) Close() error {
	d.conn.Close() // ask may have done it
	return nil
}

// ask sends a line and returns what follows "ok" in the answer.
func (d *driver) ask(ctx context.Context, line string) (string, error) {
	deadline, _ := ctx.Deadline()
	err := d.conn.SetDeadline(deadline)
	if err == nil {
		_, err = fmt.Fprintln(d.conn, line)
	}
	answer := ""
	if err == nil {
		answer, err = d.in.ReadString('\n')
	}
	if err != nil {
		d.conn.Close() // a late answer must not become that of the next question
		return "", err
	}
	value, ok := strings.CutPrefix(strings.TrimSpace(answer), "ok")
	if !ok {
		return "", errors.New(strings.TrimSpace(answer))
	}
	return strings.TrimSpace(value), nil
}

// The mapper of the README drives a device that speaks a made-up protocol over TCP.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		simulateAcme(listener)
	}()
	link := devicetest.NewLink(device.Instance{ // device/mqtt and device/inprocess have real ones
		ID: "default/acme-1",
		Spec: schema.DeviceSpec{
			Protocol:   schema.Protocol{Name: "acme", Config: schema.Options(`{"address":"` + listener.Addr().String() + `"}`)},
			Properties: []schema.Property{{Name: "temperature"}, {Name: "target"}},
		},
		Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{
			{Name: "temperature", Type: schema.TypeFloat},
			{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite, Minimum: "5", Maximum: "30"},
		}},
		Desired: map[string]string{"target": "21"},
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- device.Run(ctx, device.Config{Protocol: "acme", New: func() device.Driver { return new(driver) }, Link: link})
	}()
	_ = link.Wait(ctx, func() bool { // else it shows below
		return link.StateOf("default/acme-1") == device.Online && link.Values("default/acme-1")["target"] == "21"
	})
	fmt.Println(link.StateOf("default/acme-1"), link.Values("default/acme-1"))
	cancel()
	err = <-ended
	listener.Close()
	<-served
	fmt.Println(err)
	// Output:
	// online map[target:21 temperature:20.5]
	// <nil>
}

// simulateAcme is a device that has one connection after the other, until listener is closed.
func simulateAcme(listener net.Listener) {
	values := map[string]string{"temperature": "20.5", "target": "18"}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			words := append(strings.Fields(lines.Text()), "", "", "")
			if words[0] == "set" {
				values[words[1]] = words[2]
			}
			fmt.Fprintln(conn, "ok", values[words[1]])
		}
		conn.Close()
	}
}
