// Package processtest runs the parts of a measurement in separate processes, so that the
// memory and time of each part are measured separately.
//
// The other processes are the test binary again. One that finds a [Role] serves
// that part's methods, in the manner of net/rpc, on its standard input and
// output:
//
//	func TestMain(m *testing.M) {
//		if processtest.Role() == "cloud" {
//			os.Exit(processtest.Serve(&cloud{}))
//		}
//		...
//	}
//
//	p := processtest.Start(t, processtest.Config{Role: "cloud"})
//	p.Call("Start", config, &reply) // (*cloud).Start
//
// A process ends when its input does, and none outlives its parent.
package processtest
