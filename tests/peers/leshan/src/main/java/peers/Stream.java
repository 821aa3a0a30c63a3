package peers;

import java.io.DataInputStream;
import java.io.IOException;
import java.net.DatagramPacket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

import org.eclipse.californium.core.coap.CoAP;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.elements.Connector;
import org.eclipse.californium.elements.EndpointContext;
import org.eclipse.californium.elements.EndpointContextMatcher;
import org.eclipse.californium.elements.RawData;
import org.eclipse.californium.elements.RawDataChannel;
import org.eclipse.californium.elements.TcpEndpointContext;
import org.eclipse.californium.elements.TcpEndpointContextMatcher;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.elements.config.TcpConfig;
import org.eclipse.leshan.client.endpoint.ClientEndpointToolbox;
import org.eclipse.leshan.client.servers.ServerInfo;
import org.eclipse.leshan.core.endpoint.Protocol;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointFactory;
import org.eclipse.leshan.transport.californium.client.endpoint.coap.CoapClientEndpointFactory;
import org.eclipse.leshan.transport.californium.client.endpoint.coap.CoapClientProtocolProvider;

/**
 * CoAP over TCP for a Leshan client: Californium's own framing of RFC 8323 over a socket of ours.
 *
 * Leshan's module for it is not published, and Californium knows no signaling: so the socket sends the CSM, and
 * answers Ping, and keeps signaling messages to itself.
 */
final class Stream extends CoapClientProtocolProvider {

    private static final byte[] CAPABILITIES = { 0x00, (byte) 0xe1 }; // 7.01 without options
    private static final int PING = 0xe2;
    private static final int PONG = 0xe3;

    @Override
    public Protocol getProtocol() {
        return Protocol.COAP_TCP;
    }

    @Override
    public java.util.List<Configuration.ModuleDefinitionsProvider> getModuleDefinitionsProviders() {
        var all = new java.util.ArrayList<>(super.getModuleDefinitionsProviders());
        all.add(TcpConfig.DEFINITIONS);
        return all;
    }

    @Override
    public CaliforniumClientEndpointFactory createDefaultEndpointFactory() {
        return new CoapClientEndpointFactory() {
            @Override
            public Protocol getProtocol() {
                return Protocol.COAP_TCP;
            }

            @Override
            public String getEndpointDescription() {
                return "CoAP over TCP";
            }

            @Override
            protected CoapEndpoint.Builder createEndpointBuilder(InetSocketAddress address, ServerInfo server,
                    Configuration configuration, ClientEndpointToolbox toolbox) {
                CoapEndpoint.Builder builder = new CoapEndpoint.Builder();
                builder.setConfiguration(configuration);
                builder.setConnector(new TcpConnector());
                builder.setEndpointContextMatcher(new TcpEndpointContextMatcher());
                return builder;
            }
        };
    }

    /** One connection, made when there is something to send. */
    private static final class TcpConnector implements Connector {

        private final ExecutorService sender = Executors.newSingleThreadExecutor(work -> {
            Thread thread = new Thread(work, "tcp-sender");
            thread.setDaemon(true);
            return thread;
        });
        private RawDataChannel receiver;
        private Socket socket;
        private TcpEndpointContext context;
        private volatile boolean running;

        @Override
        public void start() {
            running = true;
        }

        @Override
        public void stop() {
            running = false;
            close();
        }

        @Override
        public void destroy() {
            stop();
            sender.shutdownNow();
        }

        private synchronized void close() {
            if (socket != null) {
                try {
                    socket.close();
                } catch (IOException ignored) {
                    // It is gone either way.
                }
                socket = null;
            }
        }

        private synchronized Socket connected(EndpointContext peer) throws IOException {
            if (socket == null || socket.isClosed()) {
                socket = new Socket(peer.getPeerAddress().getAddress(), peer.getPeerAddress().getPort());
                socket.setTcpNoDelay(true);
                context = new TcpEndpointContext(peer.getPeerAddress(), Integer.toHexString(socket.hashCode()),
                        System.currentTimeMillis());
                socket.getOutputStream().write(CAPABILITIES);
                Lines.print("connected", "port", socket.getLocalPort());
                Socket mine = socket;
                TcpEndpointContext reached = context;
                Thread reader = new Thread(() -> read(mine, reached), "tcp-reader");
                reader.setDaemon(true);
                reader.start();
            }
            return socket;
        }

        @Override
        public void send(RawData message) {
            sender.execute(() -> {
                try {
                    Socket open = connected(message.getEndpointContext());
                    message.onContextEstablished(context);
                    open.getOutputStream().write(message.getBytes());
                    message.onSent();
                } catch (IOException error) {
                    close();
                    message.onError(error);
                }
            });
        }

        /** One message after the other: RFC 8323, section 3.2. */
        private void read(Socket open, TcpEndpointContext from) {
            try (DataInputStream input = new DataInputStream(open.getInputStream())) {
                while (true) {
                    int first = input.readUnsignedByte();
                    int nibble = first >> 4;
                    int width = nibble == 13 ? 1 : nibble == 14 ? 2 : nibble == 15 ? 4 : 0;
                    byte[] extended = input.readNBytes(width);
                    long length = nibble;
                    if (width > 0) {
                        length = 0;
                        for (byte part : extended) {
                            length = length << 8 | (part & 0xff);
                        }
                        length += width == 1 ? 13 : width == 2 ? 269 : 65805;
                    }
                    int rest = 1 + (first & 0x0f) + Math.toIntExact(length);
                    byte[] message = new byte[1 + width + rest];
                    message[0] = (byte) first;
                    System.arraycopy(extended, 0, message, 1, width);
                    input.readFully(message, 1 + width, rest);
                    int code = message[1 + width] & 0xff;
                    if (code >> 5 == 7) {
                        signal(open, code, message, width);
                    } else {
                        receiver.receiveData(
                                RawData.inbound(message, from, false, System.nanoTime(), getAddress()));
                    }
                }
            } catch (IOException ended) {
                Lines.print("disconnected", "running", running);
            }
        }

        private static void signal(Socket open, int code, byte[] message, int width) throws IOException {
            Lines.print("signal", "code", "7.0" + (code & 0x1f));
            if (code == PING) {
                int tokenLength = message[0] & 0x0f;
                byte[] pong = new byte[2 + tokenLength];
                pong[0] = (byte) tokenLength;
                pong[1] = (byte) PONG;
                System.arraycopy(message, 2 + width, pong, 2, tokenLength);
                open.getOutputStream().write(pong);
            }
        }

        @Override
        public void setRawDataReceiver(RawDataChannel channel) {
            receiver = channel;
        }

        @Override
        public void setEndpointContextMatcher(EndpointContextMatcher matcher) {
            // One peer, one connection: there is nothing to tell apart.
        }

        @Override
        public synchronized InetSocketAddress getAddress() {
            return socket == null ? new InetSocketAddress(InetAddress.getLoopbackAddress(), 0)
                    : (InetSocketAddress) socket.getLocalSocketAddress();
        }

        @Override
        public String getProtocol() {
            return CoAP.PROTOCOL_TCP;
        }

        @Override
        public boolean isRunning() {
            return running;
        }

        @Override
        public void processDatagram(DatagramPacket datagram) {
            throw new UnsupportedOperationException("a stream has no datagrams");
        }
    }
}
