/** Reserves nothing of its own: heap, metaspace and code cache are the virtual machine's. */
public class Hello {
    public static void main(String[] arguments) {
        System.out.println("hello");
    }
}
