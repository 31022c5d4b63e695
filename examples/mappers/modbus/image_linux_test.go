package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
	"github.com/edgekit/edgekit/examples/mappers/modbus/internal/simulator"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// container is what pod.yaml says of the mapper's container.
type container struct {
	Image string
	Env   []struct {
		Name, Value string
		ValueFrom   struct{ FieldRef struct{ FieldPath string } }
	}
}

// TestImage builds the mapper's image, without a container engine, and runs what pod.yaml says of it
// as a runtime does: the entry point, in the image's own files, as the image's user, with the pod's
// environment. It drives a simulated device over MQTT.
func TestImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run a program in another root folder")
	}
	text, err := os.ReadFile("pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var pod struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []container }
			}
		}
	}
	if err := yaml.Unmarshal(text, &pod); err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.Template.Spec.Containers[0]
	out := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "run", "./mapperimages", "--only", "modbus", "--out", out)
	build.Dir = "../../../cmd/cluster"
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	img := unpack(t, filepath.Join(out, "modbus-mapper.tar"))
	if img.ref != c.Image {
		t.Errorf("the image is %s, pod.yaml has %s", img.ref, c.Image)
	}

	e := startEdge(t)
	slaves := simulator.New(16)
	address, stop, err := slaves.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	e.put(t, address)

	uid, err := strconv.Atoi(img.user)
	if err != nil || uid == 0 {
		t.Fatalf("the image's user is %q", img.user)
	}
	program := exec.CommandContext(t.Context(), img.entrypoint[0], img.entrypoint[1:]...)
	program.Dir, program.Env = "/", []string{"MQTT_BROKER=" + e.url}
	for _, v := range c.Env {
		if v.ValueFrom.FieldRef.FieldPath == "spec.nodeName" {
			v.Value = "edge-1"
		}
		program.Env = append(program.Env, v.Name+"="+v.Value)
	}
	program.SysProcAttr = &syscall.SysProcAttr{Chroot: img.root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	program.Stdout, program.Stderr = &log, &log
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGTERM) } // as a runtime ends a container
	program.WaitDelay = time.Minute
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	mappertest.Wait(t, nil, func() bool { return slaves.Holding(1, 0) == 45 && e.state() == device.Online }, func() string {
		return "the device is " + e.state() + ", its register " + strconv.Itoa(int(slaves.Holding(1, 0))) + ", want 45"
	})
	if err := program.Cancel(); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("%v: %s", err, &log)
	}
	if state := e.state(); state != device.Offline {
		t.Errorf("after the end the device is %s: %s", state, &log)
	}
}

// unpacked is an image in a folder.
type unpacked struct {
	ref, user, root string
	entrypoint      []string
}

// unpack reads an image archive and writes its files into a folder.
func unpack(t *testing.T, file string) unpacked {
	t.Helper()
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := make(map[string][]byte)
	each(t, archive, func(h *tar.Header, body []byte) { parts[h.Name] = body })
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
	}
	err = json.Unmarshal(parts["manifest.json"], &manifest)
	if err == nil {
		err = json.Unmarshal(parts[manifest[0].Config], &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "image") // other users cannot read below t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, layer := range manifest[0].Layers {
		each(t, parts[layer], func(h *tar.Header, body []byte) {
			path := filepath.Join(root, h.Name)
			if h.Typeflag == tar.TypeDir {
				err = os.MkdirAll(path, 0o755)
			} else {
				err = os.WriteFile(path, body, os.FileMode(h.Mode))
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	return unpacked{manifest[0].RepoTags[0], config.Config.User, root, config.Config.Entrypoint}
}

// each calls visit with each file of an archive.
func each(t *testing.T, archive []byte, visit func(*tar.Header, []byte)) {
	t.Helper()
	in := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		visit(h, body)
	}
}

// edge is edgecore's part for devices: twins, and a broker with their topics.
type edge struct {
	engine *twin.Engine
	url    string
}

func startEdge(t *testing.T) edge {
	t.Helper()
	store := memstore.New()
	engine, err1 := twin.New(twin.Config{Store: store})
	embedded, err2 := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	messages, err := bus.New(bus.Config{Mode: bus.Internal, Internal: embedded})
	if err != nil {
		t.Fatal(err)
	}
	topics, err := mqtt.New(mqtt.Config{Engine: engine, Bus: messages, Node: "edge-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group errgroup.Group
	for _, run := range []func(context.Context) error{engine.Run, messages.Run, topics.Run} {
		group.Go(func() error { return run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	<-messages.Ready()
	return edge{engine, "tcp://" + embedded.Addr().String()}
}

// put declares the boiler of device.yaml, with the address of its simulator.
func (e edge) put(t *testing.T, address string) {
	t.Helper()
	dev := mappertest.Instance(t, "model.yaml", "device.yaml")
	host, port, err := net.SplitHostPort(strings.TrimPrefix(address, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if dev.Spec.Protocol.Config, err = schema.NewOptions(map[string]any{"ip": host, "port": number, "slaveID": 1}); err != nil {
		t.Fatal(err)
	}
	put, err := devicespec.Declare(dev.Spec, dev.Model)
	if err == nil {
		err = e.engine.Put(t.Context(), boiler, put)
	}
	if err == nil {
		err = e.engine.SetDesired(t.Context(), boiler, map[string]string{"target": "45"})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (e edge) state() string {
	d, _ := e.engine.Device(boiler)
	return d.State
}
