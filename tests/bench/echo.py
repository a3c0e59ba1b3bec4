"""A bare paho echo, in a process of its own: the floor of every round trip through the broker."""

import socket
import sys

import paho.mqtt.client as mqtt


def no_delay(client: mqtt.Client, _data: object, sock: socket.socket) -> None:
    """Switch Nagle's algorithm off."""
    del client
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def main(port: int) -> None:
    """Answer every message on echo/request on echo/reply."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_socket_open = no_delay
    client.on_connect = lambda found, *_: found.subscribe("echo/request", 1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = lambda found, _data, message: found.publish("echo/reply", message.payload, qos=1)
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
