// Runs on mono and on .NET: says hello when the garbage collector has an array to keep.
class Hello
{
    static void Main()
    {
        var kept = new byte[1 << 20];
        System.Console.WriteLine(kept.Length == 1 << 20 ? "hello" : "no memory");
    }
}
